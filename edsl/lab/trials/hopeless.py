"""When a tuning trial is hopeless, so that the rest of its budget can be saved: the median rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from edsl.lab.trials.trial import CHECKPOINTS

GRACE = CHECKPOINTS // 4  # checkpoints before which none is stopped
FEWEST = 4  # finished trials, below which there is no bar
READ = {"accuracy": "accuracy", "loss": "validation_loss", "train": "loss"}  # what a metric is at a checkpoint
RULE = (
    "Hopeless tuning trials are stopped by the median rule: from a quarter of the budget on, one whose best value so "
    f"far is worse than the median of the running means of the same optimizer's finished tuning trials ({FEWEST} at "
    "least). They count as tried, and are not chosen."
)


@dataclass(frozen=True)
class Bar:
    """What a trial's best value so far must not be worse than, at each checkpoint; the less the better.

    Source: the median stopping rule of Golovin et al. 2017, section 3.2.2.
    """

    metric: str
    values: tuple[float, ...]

    def is_missed(self, checkpoints: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a trial with these checkpoints is hopeless."""
        place = len(checkpoints) - 1
        if not GRACE <= place < len(self.values) - 1:  # the last is the end
            return False
        return min(_along(self.metric, checkpoints), default=math.inf) > self.values[place]


def bar(metric: str, finished: Sequence[Mapping[str, Any]]) -> Bar | None:
    """The bar that an optimizer's finished tuning trials set; None where too few ended well."""
    curves = [_along(metric, trial["checkpoints"]) for trial in finished if trial["status"] == "ok"]
    shortest = min(map(len, curves), default=0)
    if len(curves) < FEWEST or not shortest:
        return None
    means = (median(mean(curve[:count]) for curve in curves) for count in range(1, shortest + 1))
    return Bar(metric, (math.inf, *means))


def _along(metric: str, checkpoints: Sequence[Mapping[str, Any]]) -> list[float]:
    """The values at the checkpoints after the start, the less the better."""
    sign = -1 if metric == "accuracy" else 1
    found = [point[READ[metric]] for point in checkpoints[1:]]
    return [math.inf if value is None or math.isnan(value) else sign * value for value in found]
