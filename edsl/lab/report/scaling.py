"""Steps and seconds to each target over the batch, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edsl.lab.races.race import Race
from edsl.lab.report.legends import legend_below, wrapped
from edsl.lab.report.pictures import figure_class, light_frame, styles
from edsl.lab.results.results import Results
from edsl.lab.results.targets import metric_text

UNITS = ("steps", "seconds")


def scaling_picture(races: Sequence[tuple[Race, Results]]) -> Any:
    """Medians over the batch, a column for each target, steps above seconds; None where no target was reached."""
    race, found = races[0]
    count = len(found.targets)
    if not any(one.steps for _, each in races for row in each.rows for one in row.targets):
        return None
    figure = figure_class()(figsize=(max(6.2, 3.6 * count), 6), layout="constrained")
    grid = figure.subplots(2, count, sharex=True, sharey="row", squeeze=False)
    style = styles(race)
    for place, target in enumerate(found.targets):
        for axes, unit in zip(grid[:, place], UNITS):
            for row in found.rows:
                points = _points(races, row.name, place, unit)
                if points:
                    axes.plot(*zip(*points), marker="o", markersize=4, label=wrapped(row.name), **style[row.name])
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            light_frame(axes)
        grid[0, place].set_title(f"to {metric_text(race, target)}", fontsize=10)
        grid[1, place].set_xlabel("batch")
        _draw_perfect(grid[0, place], _points(races, race.baseline, place, "steps"))
        batches = [one.setting.batch for one, _ in races]
        grid[1, place].set_xticks(batches, [str(batch) for batch in batches])
        grid[1, place].minorticks_off()
    for axes, unit in zip(grid[:, 0], UNITS):
        axes.set_ylabel(f"{unit} to target, median")
    fullest = max(grid.ravel(), key=lambda axes: len(axes.get_legend_handles_labels()[0]))
    legend_below(figure, fullest)
    return figure


def _points(races: Sequence[tuple[Race, Results]], name: str, place: int, unit: str) -> list[tuple[int, float]]:
    """(batch, median) of an optimizer, where a trial came to the target in more than no step."""
    found = []
    for race, each in races:
        row = next(row for row in each.rows if row.name == name)
        value = getattr(row.targets[place], unit)
        if value:
            found.append((race.setting.batch, value))
    return found


def _draw_perfect(axes: Any, points: Sequence[tuple[int, float]]) -> None:
    """From the baseline's first point on: half the steps for twice the batch."""
    if len(points) > 1:
        (first, steps), last = points[0], points[-1][0]
        axes.plot([first, last], [steps, steps * first / last], color="0.6", linewidth=1, linestyle="--", zorder=0)
