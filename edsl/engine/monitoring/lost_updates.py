"""Updates that rounding weights to the nearest loses: a weight of 1 in bfloat16 is deaf to steps of 1e-3.

They are looked for at the first step of an optimizer in a process, its second, fourth, eighth, …, so that it costs
next to nothing: a step is computed once more there, uncompiled, on at most `SAMPLE` elements of each parameter in
half precision, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from edsl.engine.work import SegmentWork
from edsl.groups.param_groups import weights_in
from edsl.numerics.dtypes import HALF
from edsl.numerics.weights.forms import NEAREST
from edsl.step.contexts import TorchContext
from edsl.step.oracle import ParameterSlot
from edsl.step.parameter import ParameterStep

SAMPLE = 1 << 14
NAMED = 3  # parameters that the warning names


class Lost(NamedTuple):
    """Of one parameter's elements, how many would move if they were in float32, and how many of these don't."""

    name: str
    update: str
    dtype: torch.dtype
    moving: int
    lost: int


def is_due(step: int) -> bool:
    """Whether updates are looked at in a step: the 1st, 2nd, 4th, 8th, …"""
    return step & (step - 1) == 0


def may_lose(groups: Sequence[dict[str, Any]]) -> bool:
    """Whether any parameter is in half precision and rounded to the nearest."""
    nearest = (group["params"] for group in groups if weights_in(group) is NEAREST)
    return any(parameter.dtype in HALF for parameters in nearest for parameter in parameters)


def lost_updates(preview: Callable[..., None], slots: list[ParameterSlot]) -> list[Lost]:
    """What the next step would lose, for each parameter in half precision that it would move.

    Args:
        preview: (slots, whether to look at an item, look), as the engine has it.
    """
    found: list[tuple[ParameterStep, Tensor]] = []

    def look(work: SegmentWork) -> None:
        if not work.segment.updates:
            work.item.x, _, _ = work.segment.evaluate(
                TorchContext, work.item.theta, work.item.x, work.inputs_with_noise(), *work.buffers
            )
        elif _rounds_to_nearest(work.item):
            found.append((work.item, _counts(work)))

    preview(slots, _can_be_previewed, look)
    if not found:
        return []
    counts = torch.stack([count.to(found[0][1].device) for _, count in found]).tolist()  # one wait for the device
    names = [(item.name, item.plan.pipeline.update.name, item.local.dtype) for item, _ in found]
    return [Lost(*name, *count) for name, count in zip(names, counts)]


def warning(lost: Sequence[Lost], step: int) -> str:
    """What to tell the user, "" where most elements of every parameter move that should."""
    bad = [one for one in lost if one.lost > one.moving / 2]
    if not bad:
        return ""
    share = sum(one.lost for one in bad) / sum(one.moving for one in bad)
    names = ", ".join(one.name for one in bad[:NAMED]) + (", …" if len(bad) > NAMED else "")
    kinds = " and ".join(sorted({str(one.dtype).removeprefix("torch.") for one in bad}))
    updates = " and ".join(dict.fromkeys(one.update for one in bad))
    return (
        f"{updates}: {share:.0%} of the updates of {len(bad)} of the {len(lost)} parameters in half precision that "
        f"step {step} would move ({names}) round away: these elements stay as they are in {kinds}. Let "
        "weights='stochastic', 'kahan' or 'split' keep them, or keep the weights in float32 and compute the loss under "
        "torch.autocast"
    )


def _can_be_previewed(item: ParameterStep) -> bool:
    """Whether a step can be computed here alone: of a shard, where nothing is asked of the whole layer."""
    if len(item.plan.segments) == 1 and not _rounds_to_nearest(item):
        return False
    if any(part.totals for part in item.plan.segments):
        return False  # that of some layers is none
    plain = [not part.analysis.reductions and part.serves_all_sizes for part in item.plan.segments]
    return not item.is_sharded_here or (len(plain) == 1 and plain[0] and not item.plan.segments[0].needs_total_norm)


def _rounds_to_nearest(item: ParameterStep) -> bool:
    return item.local.dtype in HALF and item.plan.weights is NEAREST


class _SampledAt(TorchContext):
    """Where a step happens on every n-th element of a layer: its norms are estimated."""

    stretch: ClassVar[float] = 1.0

    def norm(self, x: Tensor) -> Tensor:
        return super().norm(x) * self.stretch


def _counts(work: SegmentWork) -> Tensor:
    """How many elements should move, and how many of them stay; of a large layer, among every n-th."""
    theta, x, inputs, buffers = work.item.theta, work.item.x, work.inputs_with_noise(), work.buffers
    stride = 1 if work.item.plan.is_matrix else max(1, theta.numel() // SAMPLE)
    at_type: type[TorchContext] = TorchContext
    if stride > 1:
        every = slice(None, None, stride)
        scalars = work.segment.scalars
        buffers = [buffer if place in scalars else buffer[every] for place, buffer in enumerate(buffers)]
        theta, x = theta[every], x[every]
        inputs = inputs._replace(
            normals=tuple(normal[every] for normal in inputs.normals),
            **{
                name: tensor[every]
                for name in ("gradient", "hessian", "difference")
                if (tensor := getattr(inputs, name)) is not None
            },
        )
        at_type = type("_SampledAt", (_SampledAt,), {"stretch": sqrt(work.item.theta.numel() / theta.numel())})
    change, _, at = work.segment.evaluate(at_type, theta, x, inputs, *buffers)
    moved = at.theta + change
    moving = moved != at.theta  # in float32
    return torch.stack([moving.sum(), (moving & (moved.to(theta.dtype) == theta)).sum()])
