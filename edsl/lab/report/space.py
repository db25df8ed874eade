"""What joint tuning tried, drawn: a panel for each hyper-parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edsl.lab.races.race import Race
from edsl.lab.report.legends import legend_below, wrapped
from edsl.lab.report.pictures import METRICS, figure_class, light_frame, styles
from edsl.lab.results.results import Results


def space(race: Race, found: Results, finished: Sequence[Mapping[str, Any]]) -> Any:
    """The score of every point over each of its values, and which was chosen; None for a race without a space."""
    dimensions = race.tuning.dimensions
    if not dimensions:
        return None
    trials = {(trial["spec"], trial["seed"]): dict(trial) for trial in finished}
    columns = min(3, len(dimensions))
    lines = -(-len(dimensions) // columns)
    figure = figure_class()(figsize=(3.4 * columns, 3.1 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    style = styles(race)
    sign = -100 if race.metric == "accuracy" else 1
    for entrant, row in zip(race.entrants, found.rows, strict=True):
        scores = {point: score for point, score in race.tuned(entrant, trials)[0].items() if np.isfinite(score)}
        if not scores:
            continue
        best = min(scores, key=lambda candidate: (scores[candidate], candidate))
        for axes, dimension in zip(grid, dimensions):
            name = dimension.name
            points = [(dict(point)[name], sign * score) for point, score in scores.items() if name in dict(point)]
            if not points:
                continue
            axes.plot(*zip(*points), ".", color=style[entrant.name]["color"], label=wrapped(row.name))
            chosen = dict(best)[name], sign * scores[best]
            axes.plot(*chosen, marker="*", markersize=13, color=style[entrant.name]["color"])
    for axes, dimension in zip(grid, dimensions):
        shares = [row.sensitivity[dimension.name] for row in found.rows if dimension.name in row.sensitivity]
        matters = f" ({100 * np.mean(shares):.0f} % of the variance)" if shares else ""
        axes.set_xlabel(f"{dimension.name}{matters}", fontsize=9)
        if dimension.scale == "log":
            axes.set_xscale("log")
        if race.metric != "accuracy":
            axes.set_yscale("log")
        light_frame(axes)
    for axes in grid[len(dimensions) :]:
        axes.set_visible(False)
    grid[0].set_ylabel(METRICS[race.metric])
    legend_below(figure, grid[0])
    return figure
