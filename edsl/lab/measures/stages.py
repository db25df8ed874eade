"""What happens between gradient and step: the norms around each stage, and the layerwise factor.

The stages are run once more from the optimizer's own state and gradient, which the optimizer's
watchers do without changing either.
"""

from __future__ import annotations

import math
from statistics import median
from typing import Any

from edsl.lab.measures.measure import Measure


class Watching(Measure):
    """A measure that looks at one step through the optimizer's watchers; absent for other packages'."""

    def before(self) -> None:
        from edsl.optim.optimizer import PipelineOptimizer

        self.seen: list[Any] = []
        if isinstance(self.run.optimizer, PipelineOptimizer) and not self.run.pipeline.update.moves_weights:
            self.run.optimizer.watchers.append(self._watch)

    def _watch(self, seen: list[Any]) -> None:
        self.seen = seen

    def after(self) -> None:
        watchers = getattr(self.run.optimizer, "watchers", [])
        if self._watch in watchers:
            watchers.remove(self._watch)


class Norms(Watching):
    """For each stage "norm.STAGE.in" and "norm.STAGE.out", over all parameters."""

    def read(self) -> dict[str, float]:
        squares: dict[str, list[float]] = {}
        for watched in self.seen:
            for label, (before, after) in watched.flows.items():
                total = squares.setdefault(label, [0.0, 0.0])
                total[0] += before.item() ** 2
                total[1] += after.item() ** 2
        values = {}
        for label, (before, after) in squares.items():
            values |= {f"norm.{label}.in": math.sqrt(before), f"norm.{label}.out": math.sqrt(after)}
        return values


class Trust(Watching):
    """The layerwise factor over the layers that have one: "trust.median", "trust.min", "trust.max"."""

    def read(self) -> dict[str, float]:
        ratios = [watched.ratios[-1].item() for watched in self.seen if watched.ratios]
        if not ratios:
            return {}
        return {"trust.median": median(ratios), "trust.min": min(ratios), "trust.max": max(ratios)}
