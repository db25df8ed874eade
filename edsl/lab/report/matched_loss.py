"""Sharpness and drift over the training loss, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edsl.errors import EdslError
from edsl.lab.races.race import Race
from edsl.lab.results.matched_loss import Seen
from edsl.lab.trials.levels import END


def picture(race: Race, found: Sequence[Seen]) -> Any:
    """Sharpness and drift over the training loss at which they were measured: medians, bands from least to most.

    Raises:
        EdslError: without matplotlib, or where no run came to a level.
    """
    from edsl.lab.report.legends import legend_below, wrapped
    from edsl.lab.report.pictures import figure_class, light_frame, styles

    if all(look.level == END for look in found):
        raise EdslError("no run reached a level of --match-loss")
    figure = figure_class()(figsize=(10, 4.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    style = styles(race)
    for axes, key, name in ((left, "sharpness", "sharpness λ_max"), (right, "drift", "drift ‖θ−θ₀‖")):
        for entrant in race.entrants:
            levels = sorted({x.level for x in found if x.name == entrant.name and x.level != END}, reverse=True)
            values = [[getattr(x, key) for x in found if x.name == entrant.name and x.level == at] for at in levels]
            if not levels:
                continue
            line = style[entrant.name]
            axes.plot(
                levels, [np.median(v) for v in values], marker="o", markersize=4, label=wrapped(entrant.name), **line
            )
            low, high = [min(v) for v in values], [max(v) for v in values]
            axes.fill_between(levels, low, high, color=line["color"], alpha=0.12, linewidth=0)
        axes.set_xscale("log")
        axes.invert_xaxis()
        axes.set_xlabel("training loss at which it is measured (later →)")
        axes.set_ylabel(name)
        light_frame(axes)
    legend_below(figure, left)
    return figure
