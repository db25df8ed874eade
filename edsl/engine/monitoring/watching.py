"""What a step computes on the way, for whoever watches."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from edsl.engine.work import SegmentWork
from edsl.errors import EdslError
from edsl.language.stage import Stage
from edsl.step.contexts import ObservingContext
from edsl.step.parameter import ParameterStep


@dataclass(frozen=True)
class Watched:
    """What one parameter's step computed on the way.

    Attributes:
        roots, norms, ratios: of its base update, in order: √v̂; of θ, of r; the layerwise factor.
        flows: by stage, the norms of what went into it and came out.
    """

    parameter: Tensor
    k: int
    update: Stage
    roots: list[Tensor]
    norms: list[Tensor]
    ratios: list[Tensor]
    flows: dict[str, tuple[Tensor, Tensor]]


class Observer:
    """Goes through a step's segments without writing anything, and keeps what they compute.

    Attributes:
        seen: of each parameter that has come to its end.
    """

    def __init__(self) -> None:
        self.seen: list[Watched] = []
        self._flows: dict[ParameterStep, dict[str, tuple[Tensor, Tensor]]] = {}

    def look(self, work: SegmentWork) -> None:
        """Compute what flows out of a segment."""
        item = work.item
        u, _, at = work.segment.evaluate(ObservingContext, item.theta, item.x, work.inputs_with_noise(), *work.buffers)
        assert isinstance(at, ObservingContext)  # made by evaluate
        through = self._flows.setdefault(item, {})
        through |= at.flows
        if work.segment.updates:
            update = item.plan.pipeline.update
            self.seen.append(Watched(item.parameter, item.k, update, at.roots, at.norms, at.ratios, through))
        item.x = u


def is_whole(item: ParameterStep) -> bool:
    """That a parameter's step can be watched; raises EdslError for a sharded one."""
    if item.is_sharded_here:
        raise EdslError("only unsharded parameters can be watched; these are sharded (DTensor)")
    return True
