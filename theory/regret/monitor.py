"""The condition of Theorem 2 that shows only while training: is q_k non-decreasing?

    q_k = √k (√v_{k,i} + ε₁)(‖r_k‖ + ε₂ φ(‖θ_k‖)) / φ(‖θ_k‖)     for every coordinate i

The monitor runs the pipeline's own step a second time, without writing, and reads √v̂ and the layer's
norms where the step asks for them. It keeps one buffer for each parameter: q of the step before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edsl.errors import EdslError


@dataclass(frozen=True)
class RegretReport:
    """What the monitor saw.

    Attributes:
        steps: steps watched.
        share: share of (coordinate, step) pairs at which q fell.
        fired: share of steps at which q fell in some coordinate.
        variation: NV = Σ (q_{k−1} − q_k)₊ over all coordinates and steps.
        per_root: NV/√T; NV = O(√T) is enough for that term of the proof.
    """

    steps: int
    share: float
    fired: float
    variation: float
    per_root: float


class RegretMonitor:
    """Watches q_k at every step of an optimizer, through its hooks; `remove` ends it.

    Args:
        optimizer: of `edsl.compile`, with a base update that takes a root of its second moment.

    Raises:
        EdslError: for another package's optimizer.

    Example:
        >>> import torch, edsl
        >>> from edsl.theory.regret.monitor import RegretMonitor
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = edsl.compile("alto", model, mode="eager")
        >>> monitor = RegretMonitor(optimizer)
        >>> model(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()
        >>> monitor.report().steps
        1
    """

    def __init__(self, optimizer: Any) -> None:
        from edsl.optim.optimizer import PipelineOptimizer

        if not isinstance(optimizer, PipelineOptimizer) or optimizer.pipeline.update.moves_weights:
            raise EdslError(f"the regret monitor reads edsl's own updates, got {type(optimizer).__name__}")
        if not optimizer.pipeline.update.has_moments:
            name = optimizer.pipeline.update.name
            raise EdslError(f"the regret monitor needs an update with two moments, such as lamb or adam, got {name}")
        self._before: dict[Any, Any] = {}
        self._fell = self._seen = self._fired = self._steps = 0
        self._variation = 0.0
        self._optimizer = optimizer
        optimizer.watchers.append(self._watch)

    def remove(self) -> None:
        """Stop watching, and free the buffers."""
        if self._watch in self._optimizer.watchers:
            self._optimizer.watchers.remove(self._watch)
        self._before.clear()

    def report(self) -> RegretReport:
        """What was seen so far."""
        return RegretReport(
            steps=self._steps,
            share=self._fell / self._seen if self._seen else 0.0,
            fired=self._fired / self._steps if self._steps else 0.0,
            variation=self._variation,
            per_root=self._variation / math.sqrt(self._steps) if self._steps else 0.0,
        )

    def _watch(self, watched: list[Any]) -> None:
        self._steps += 1
        fell_now = 0
        for seen in watched:
            stage: Any = seen.update
            q = math.sqrt(seen.k) * (seen.roots[-1] + stage.eps1)
            if seen.ratios:  # the layerwise factor, where there is one
                q = q / seen.ratios[-1]
            before = self._before.get(seen.parameter)
            if before is not None:
                fall = (before - q).clamp(min=0)
                fell_now += int((fall > 0).sum())
                self._variation += float(fall.sum())
                self._seen += fall.numel()
            self._before[seen.parameter] = q
        self._fell += fell_now
        self._fired += fell_now > 0
