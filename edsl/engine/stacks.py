"""Matrices of equal shape, stepped as one stack: one product of many small matrices instead of many products.

The call of a small product costs more than its arithmetic, and on a GPU it leaves most of the chip
idle. So the tensors of such parameters are copied into stacks of shape (n, rows, columns), stepped
there, and copied back: a few passes through memory beside the hundreds of a matrix stage's products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from edsl.codegen.trace import record
from edsl.engine.work import SegmentWork
from edsl.numerics.stochastic_rounding import rounded
from edsl.numerics.sums import mean, norm
from edsl.step.contexts import TorchContext
from edsl.step.inputs import StepInputs
from edsl.step.segment import Segment

# By the type of device, as measured: the most elements of a stack, and the fewest matrices that are worth one.
STACKS = {"cpu": (1 << 16, 8), "cuda": (1 << 23, 2)}


class StackContext(TorchContext):
    """Where a step happens on a stack of layers: what is asked about each has shape (n, 1, 1)."""

    def __init__(self, theta: Tensor, *place: Any) -> None:
        super().__init__(theta, *place)
        self._shape = theta.shape[1:]

    def norm(self, x: Tensor) -> Tensor:
        return norm(x, dim=tuple(range(1, x.dim())))

    def mean(self, x: Tensor) -> Tensor:
        return mean(x, dim=tuple(range(1, x.dim())))


def most_in_stack(rows: int, columns: int, device: str, count: int) -> int:
    """How many of `count` equal matrices may share a stack, 1 where it would not be worth it."""
    elements, fewest = STACKS.get(device, (0, 2))
    most = elements // max(1, rows * columns)
    return min(most, count) if most >= fewest else 1


def stacked(works: Sequence[SegmentWork]) -> Iterator[list[SegmentWork]]:
    """The turns in stacks: those alike together, others, and what is too large, one by one.

    One whose partners have no gradient now is a stack with itself, so that nothing is compiled for it alone.
    """
    alike: dict[Any, list[SegmentWork]] = {}
    for work in works:
        alike.setdefault(_kind(work), []).append(work)
    for found in alike.values():
        item = found[0].item
        if not (item.partnered and can_stack(found[0].segment) and found[0].inputs.answers is None):
            yield from ([work] for work in found)
            continue
        rows, columns = item.theta.shape
        count = max(2, len(found))
        stacks = -(-count // most_in_stack(rows, columns, item.device, count))
        step = -(-count // stacks)  # as equal stacks as can be
        for start in range(0, len(found), step):
            stack = found[start : start + step]
            yield [stack[0], stack[0]] if len(stack) == 1 < step else stack


def _kind(work: SegmentWork) -> Any:
    """What must agree for turns to share a stack; those of one plan at one step share their live values."""
    item, inputs = work.item, work.inputs
    if not (item.partnered and can_stack(work.segment)):
        return id(work)
    has = (inputs.gradient is None, inputs.hessian is None, inputs.difference is None, inputs.answers is None)
    return id(work.segment), id(inputs.live), item.theta.shape, item.theta.dtype, item.x.dtype, has


def stack_inputs(stack: Sequence[SegmentWork]) -> tuple[Tensor, Tensor, StepInputs, list[Tensor]]:
    """θ, what flows in, what is read beside, and the memory, of all turns of a stack."""
    first = stack[0].inputs

    def all_of(name: str) -> Tensor | None:
        found = [getattr(work.inputs, name) for work in stack]
        return None if found[0] is None else torch.stack(found)

    inputs = first._replace(**{name: all_of(name) for name in ("gradient", "hessian", "difference", "key")})
    theta = torch.stack([work.item.theta for work in stack])
    x = torch.stack([work.item.x for work in stack])
    return theta, x, inputs, [torch.stack(buffers) for buffers in zip(*(work.buffers for work in stack))]


def stacked_function(segment: Segment) -> Callable[..., Any]:
    """(θ, x, given, *memory), all stacked → (the next θ or u, the next of the buffers that change)."""
    moving = _moving(segment)

    def run(theta: Tensor, x: Tensor, inputs: StepInputs, *buffers: Tensor) -> tuple[Tensor, list[Tensor]]:
        u, after, at = segment.evaluate(StackContext, theta, x, inputs, *buffers)
        made = at.theta + u if segment.updates else u
        changed = []
        for place in moving:
            new = after[place]
            if inputs.key is not None and buffers[place].dtype is torch.bfloat16:
                new = rounded(new, inputs.key, place)
            changed.append(new)
        return made, changed

    return run


def unstack_results(stack: Sequence[SegmentWork], made: Tensor, changed: Sequence[Tensor]) -> None:
    """Copy what a stack's step made to where it belongs."""
    segment = stack[0].segment
    if segment.updates:
        _copy([work.item.theta for work in stack], made)
    else:
        for work, u in zip(stack, made):
            work.item.x = u
    for place, new in zip(_moving(segment), changed):
        _copy([work.buffers[place] for work in stack], new)


def _moving(segment: Segment) -> list[int]:
    """The places of the buffers that a step changes."""
    return [place for place, name in enumerate(segment.buffers) if name not in segment.kept]


def _copy(to: list[Tensor], stack: Tensor) -> None:
    torch._foreach_copy_(to, list(stack.unbind()))  # pyright: ignore[reportPrivateImportUsage]


_known: dict[Any, bool] = {}  # of segments, by their keys


def can_stack(segment: Segment) -> bool:
    """Whether its stages mean the same on a stack: matrix stages that say so, and elements, norms and means."""
    if segment.key not in _known:
        _known[segment.key] = _stacks(segment)
    return _known[segment.key]


def _stacks(segment: Segment) -> bool:
    if segment.noisy or not any(stage.is_matrix for stage in segment.stages):
        return False
    return all(
        stage.stacks if stage.is_matrix else _is_elementwise(segment, place)
        for place, stage in enumerate(segment.stages)
    )


def _is_elementwise(segment: Segment, place: int) -> bool:
    one = slice(place, place + 1)
    alone = replace(
        segment,
        stages=segment.stages[one],
        labels=segment.labels[one],
        memory=segment.memory[one],
        places=segment.places[one],
    )
    try:
        record(alone, looked=False, differs=False, apart=True)
    except Exception:  # it speaks torch, not the language of At
        return False
    return True
