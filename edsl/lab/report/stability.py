"""A sweep's runs on the map of what is stable, as theory has it."""

from __future__ import annotations

from typing import Any

import numpy as np

from edsl.errors import EdslError
from edsl.lab.races.race import Race
from edsl.lab.report.pictures import figure_class
from edsl.lab.results.results import FINAL, NAMES, Results

POINTS = 80  # along each axis
BELOW_ONE = ("beta", "momentum")  # hyper-parameters in [0, 1)


def stability(race: Race, found: Results) -> Any:
    """The largest stable lr · curvature over the first two hyper-parameters swept, and each combination's metric.

    None for other races, and where the pipeline is not linear in its gradients' filter.
    """
    from edsl.language.spec import parse
    from edsl.theory.stability.maps import sharpness_map, step_sizes
    from edsl.theory.systems.linearise import linearise

    swept = [entrant for entrant in race.entrants if entrant.values]
    names = [name for name, value in (swept[0].values if swept else {}).items() if isinstance(value, (int, float))]
    if race.kind != "sweep" or len(names) < 2:
        return None
    x, y = names[:2]
    places = {entrant.name: (entrant.values[x], entrant.values[y]) for entrant in swept}
    pipeline = parse(swept[0].spec)
    grid = [_axis(name, [place[i] for place in places.values()]) for i, name in enumerate((x, y))]
    try:
        system = linearise(pipeline)
        stable = step_sizes(system, (x, y), *grid) * sharpness_map(system, (x, y), *grid)
    except (EdslError, KeyError):  # no linear recurrence, or none in which these two stand
        return None
    figure = figure_class()(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    drawn = np.where(np.isfinite(stable) & (stable > 0), stable, np.nan)
    image = axes.pcolormesh(*grid, np.log10(drawn), cmap="Greys_r", alpha=0.6, shading="auto")
    figure.colorbar(image, ax=axes, label="log₁₀ of the largest stable lr · curvature")
    rows = {row.name: row for row in found.rows}
    scale, form = (100, ".1f") if race.metric == "accuracy" else (1, ".3g")
    for name, place in places.items():
        end = getattr(rows[name], FINAL[race.metric])
        colour = "tab:red" if end is None else "tab:blue"
        axes.plot(*place, "x" if end is None else "o", color=colour, markersize=7)
        text = "diverged" if end is None else format(scale * end.mean, form)
        below = place[1] > grid[1].mean()  # so that it stays within the axes
        to = {"xytext": (6, -4 if below else 4), "va": "top" if below else "bottom"}
        axes.annotate(text, place, textcoords="offset points", fontsize=8, color=colour, **to)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(f"{NAMES[race.metric]}{', %' if scale == 100 else ''} of each combination", fontsize=10)
    return figure


def _axis(name: str, values: list[float]) -> Any:
    """The values' range and a tenth more on each side, where that has a meaning."""
    low, high = min(values), max(values)
    margin = 0.1 * (high - low) or 1.0
    if name.rpartition(".")[2].startswith(BELOW_ONE):
        return np.linspace(max(0.0, low - margin), min(0.9999, high + margin), POINTS)
    if name.rpartition(".")[2].endswith("lr"):  # no step goes backwards
        return np.linspace(max(low - margin, low / 2), high + margin, POINTS)
    return np.linspace(low - margin, high + margin, POINTS)
