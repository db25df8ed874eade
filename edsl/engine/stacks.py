"""Matrices of equal shape, stepped as one stack: one product of many small matrices instead of many products.

The call of a small product costs more than its arithmetic, and on a GPU it leaves most of the chip idle. A stack holds
no more than a device's caches, or fills the device: what a step needs beside its state is that of one stack.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from edsl.engine.totals import Totals
from edsl.engine.work import SegmentWork
from edsl.kernels.kernel import KernelCache, NoKernels
from edsl.kernels.matrices import MatrixInputs, MatrixSteps
from edsl.kernels.products import NativeProducts
from edsl.numerics.dtypes import working_dtype
from edsl.step.contexts import StackContext, TorchContext
from edsl.step.inputs import StepInputs
from edsl.step.parameter import ParameterStep
from edsl.step.segment import Segment, shapes_of_forms
from edsl.step.state_dtype import Kept

STACKS = {"cpu": 1 << 16, "cuda": 1 << 25}  # by the type of device: the most elements of a stack

Kernels = Sequence[KernelCache | NoKernels]


def most_in_stack(rows: int, columns: int, device: str, count: int) -> int:
    """How many of `count` equal matrices share a stack."""
    return max(1, min(count, STACKS.get(device, 0) // max(1, rows * columns)))


def step_stacks(kernels: Kernels, items: Sequence[ParameterStep], number: int, totals: Totals) -> list[ParameterStep]:
    """Take matrices through their segment of this number where it is a program; the others are left."""
    left: list[ParameterStep] = []
    alike: dict[Any, list[ParameterStep]] = {}
    for item in items:
        if item.plan.segments[number].is_matrix and not item.is_sharded_here:
            alike.setdefault(_kind(item, number), []).append(item)
        else:
            left.append(item)
    for place, found in enumerate(alike.values()):
        segment, first = found[0].plan.segments[number], found[0]
        dtypes = tuple(getattr(tensor, "dtype", None) for tensor in _flowing(first, number))
        steps = _steps(kernels, segment, first.theta, dtypes, segment.kinds(first.buffers_in_memory(segment)))
        if steps is None:
            left += found
            continue
        late = totals.late_of(first)
        numbers = first.plan.live_layout.with_room(_numbers(first, first.theta), late)
        for begin, stack in _cut(found, segment):
            _refresh(segment, stack, totals)
            inputs = [_inputs(item, segment, number) for item in stack]
            made = steps(inputs, numbers, late, (number, place, begin))
            for item in stack:
                item.paths[segment.begin] = steps.path
            if not segment.updates:
                for item, u in zip(stack, made):
                    item.x = u
    return left


def step_whole(
    kernels: Kernels, work: SegmentWork, theta: Tensor, x: Tensor, inputs: StepInputs, buffers: Sequence[Tensor]
) -> Tensor | None:
    """Take a matrix that was brought together on this process through its segment: what flows out, or θ.

    None where its segment is no program.
    """
    item, segment = work.item, work.segment
    extra = (inputs.gradient, inputs.hessian, inputs.difference)
    dtypes = (x.dtype, *(None if tensor is None else tensor.dtype for tensor in extra))
    steps = _steps(kernels, segment, theta, dtypes, segment.kinds(buffers)) if segment.is_matrix else None
    if steps is None:
        return None
    if segment.refreshes(item.k, item.name):
        segment.refresh(item.k, theta, x, inputs, *buffers, at_type=NativeContext)
    shapes = shapes_of_forms(segment, theta.shape)
    given = MatrixInputs(theta, x, *extra, inputs.normals, buffers, item.key, item.name, shapes)
    item.paths[segment.begin] = steps.path
    late = () if inputs.total_norm is None else ((item.plan.live_layout.total_norm, inputs.total_norm),)
    (made,) = steps([given], _numbers(item, theta), late, item.name)
    return made


class NativeContext(TorchContext):
    """Where a refresh happens beside kernels."""

    products = NativeProducts


def _steps(
    kernels: Kernels, segment: Segment, theta: Tensor, dtypes: tuple[Any, ...], kinds: tuple[Kept, ...]
) -> MatrixSteps | None:
    own = (cache for cache in kernels if isinstance(cache, KernelCache) and cache.device == theta.device.type)
    for cache in own:
        found = cache.program(segment, theta, dtypes, kinds)
        if found is not None:
            return MatrixSteps(*found, segment.updates, segment.formats, f"{cache.language} and BLAS")
    return None


def _kind(item: ParameterStep, number: int) -> Any:
    """What must agree for matrices to share a stack; those of one plan at one step share their live values."""
    forms = (tensor if tensor is None else tensor.dtype for tensor in _flowing(item, number))
    segment = item.plan.segments[number]
    buffers = segment.kinds(item.buffers_in_memory(segment))
    return id(item.plan), item.k, tuple(item.theta.shape), item.theta.dtype, item.theta.device, *forms, None, *buffers


def _flowing(item: ParameterStep, number: int) -> tuple[Tensor | None, ...]:
    """What flows in; the raw gradient, where it is something else; the Hessian and the difference."""
    return item.flowing, item.raw if number > 0 else None, item.new_hessian, item.own_difference


def _numbers(item: ParameterStep, theta: Tensor) -> list[float]:
    return item.plan.live_layout.of_matrix(item.plan.numbers(item.k), *theta.shape)


def _cut(items: Sequence[ParameterStep], segment: Segment) -> Iterator[tuple[int, Sequence[ParameterStep]]]:
    """Equal matrices in as equal stacks as can be, each with the place where it begins."""
    rows, columns = items[0].theta.shape
    most = 1 if segment.noisy else most_in_stack(rows, columns, items[0].device, len(items))  # one noise at a time
    step = -(-len(items) // -(-len(items) // most))
    for begin in range(0, len(items), step):
        yield begin, items[begin : begin + step]


def _inputs(item: ParameterStep, segment: Segment, number: int) -> MatrixInputs:
    return MatrixInputs(
        item.theta,
        item.x,
        item.gradient if number > 0 else None,
        item.hessian,
        item.difference,
        [item.normal(stage, label) for stage, label in segment.noisy],
        item.memory(segment),
        item.key,
        item.name,
        shapes_of_forms(segment, item.theta.shape),
    )


def _refresh(segment: Segment, stack: Sequence[ParameterStep], totals: Totals) -> None:
    """Bring the memory of those up to date that are due, together."""
    due = [item for item in stack if segment.refreshes(item.k, item.name)]
    works = totals.works_of(due) if due else []
    # LAPACK takes one matrix after another anyway; a GPU takes all at once.
    if len(works) > 1 and segment.stages[0].stacks and works[0].item.device != "cpu":
        refresh_stack(segment, works)
        return
    for work in works:
        theta, x = work.item.theta, work.item.x
        segment.refresh(work.item.k, theta, x, work.inputs_with_noise(), *work.buffers, at_type=NativeContext)


def refresh_stack(segment: Segment, works: Sequence[SegmentWork]) -> None:
    """`Segment.refresh` of equal matrices at the same step."""
    first = works[0].inputs

    def all_of(name: str) -> Tensor | None:
        found = [getattr(work.inputs, name) for work in works]
        return None if found[0] is None else torch.stack(found)

    inputs = first._replace(**{name: all_of(name) for name in ("gradient", "hessian", "difference")})
    theta = torch.stack([work.item.theta for work in works])
    dtype = working_dtype(theta.dtype)
    x = torch.stack([work.item.x for work in works])
    values = ([_opened(segment, place, work, dtype) for place in range(len(work.buffers))] for work in works)
    buffers = [torch.stack(found) for found in zip(*values)]
    drawn = zip(*(work.inputs_with_noise().probes for work in works))
    inputs = inputs._replace(probes=tuple(map(torch.stack, drawn)))
    for place, new in segment.refreshed(StackContext, works[0].item.k, theta, x, inputs, *buffers).items():
        to = [work.buffers[place] for work in works]
        if segment.formats[place] is not None:
            for work, one in zip(works, new.unbind()):
                segment.write(place, work.buffers[place], one, work.inputs.key)
        else:
            torch._foreach_copy_(to, list(new.unbind()))  # pyright: ignore[reportPrivateImportUsage]


def _opened(segment: Segment, place: int, work: SegmentWork, dtype: torch.dtype) -> Tensor:
    """A buffer of a work, or its values where it isn't kept in a dtype."""
    buffer = work.buffers[place]
    return buffer if segment.formats[place] is None else segment.opened(place, buffer, work.item.theta.shape, dtype)
