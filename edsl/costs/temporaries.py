"""What a step allocates for its own time, bounded from the stages before anything is allocated.

Elementwise steps allocate nothing as large as a parameter. What else there is: values that flow
between the segments of a pipeline, one value an element; what a step of one tensor keeps aside, which
counts for one tensor at a time; copies that an estimator makes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from edsl.codegen.cpp import SCRATCH, SMALL
from edsl.codegen.expression import Conditions
from edsl.codegen.loops import schedule
from edsl.codegen.packing import packed_in, stored, with_triangles
from edsl.codegen.program import Program, cut
from edsl.codegen.trace import record
from edsl.costs.peak import peak_bytes
from edsl.engine.stacks import most_in_stack
from edsl.kernels.matrices import MatrixInputs, MatrixSteps
from edsl.language.context import NotElementwise
from edsl.language.pipeline import Pipeline
from edsl.numerics.dtypes import working_dtype
from edsl.numerics.weights.form import WeightForm
from edsl.numerics.weights.forms import NEAREST
from edsl.step.buffers import dtype_kept
from edsl.step.contexts import TorchContext
from edsl.step.inputs import StepInputs
from edsl.step.parts.matrices import Matrices, one_matrix
from edsl.step.plan import GroupPlan
from edsl.step.segment import Segment, shapes_of_forms
from edsl.step.state_dtype import StateDtype

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Temporary:
    """Bytes that a step allocates at most, and where native code on a CPU takes it."""

    what: str
    bytes: int
    on_cpu: int


def temporaries(
    branches: Sequence[tuple[Pipeline, Sequence[Shape], Sequence[Matrices]]],
    dtype: torch.dtype,
    state_dtype: StateDtype,
    weights: WeightForm = NEAREST,
) -> tuple[Temporary, ...]:
    """What a step allocates, for pipelines, the shapes that take each, and the matrices that they are taken as."""
    found = [
        (GroupPlan(one, False, one.hyperparameters, "", state_dtype, weights=weights), shapes, matrices)
        for one, shapes, matrices in branches
        if shapes
    ]
    if not found:
        return ()
    taken = [(plan, shapes) for plan, shapes, _ in found]
    copies = [one for plan, _, matrices in found for one in (_copied(plan, every, dtype) for every in matrices)]
    copied = sum(flows for flows, _ in copies) + max((held for _, held in copies), default=0)
    stepped = [
        (plan, [part.shape for one in matrices for part in one.parts] if plan.is_matrix else shapes)
        for plan, shapes, matrices in found
    ]
    within = [found for plan, shapes in stepped for found in _within_tensors(plan, shapes, dtype)]
    found = [
        _between_segments(taken, dtype),
        max(within, key=lambda one: one.bytes, default=Temporary("", 0, 0)),
        *_estimate(taken, dtype),
        Temporary("copies of the matrices that lie in columns", copied, copied),
    ]
    on_cpu = max((one.on_cpu for one in within), default=0)
    found[1] = Temporary(found[1].what, found[1].bytes, on_cpu)
    return tuple(one for one in found if one.bytes or one.on_cpu)


def _between_segments(taken: Iterable[tuple[GroupPlan, Sequence[Shape]]], dtype: torch.dtype) -> Temporary:
    """One value an element flows; where it is made from another of its kind, both are there for a while."""
    size = working_dtype(dtype).itemsize
    total = 0
    for plan, shapes in taken:
        elements = sum(map(prod, shapes))
        foreign = plan.pipeline.update.moves_weights
        total += elements * size * min(len(plan.segments) - (not foreign), 2)
        total += elements * dtype.itemsize * foreign  # in the gradient's dtype, for the other package
    return Temporary("what flows between the pipeline's segments", total, total)


def _within_tensors(plan: GroupPlan, shapes: Sequence[Shape], dtype: torch.dtype) -> Iterator[Temporary]:
    """What each segment needs while it steps one tensor."""
    work = working_dtype(dtype)
    largest = max(map(prod, shapes))
    threads = torch.get_num_threads()
    for number, segment in enumerate(plan.segments):
        if number == 0 and segment.needs_total_norm and dtype != work:
            widened = largest * work.itemsize
            yield Temporary("one gradient in float32, for its norm", widened, widened)
        noise = (len(segment.noisy) + len(segment.probing)) * largest * work.itemsize
        kept = _kept_aside(plan, segment, number, work)
        if kept is None:
            found = [_of_matrices(plan, segment, shape, count, dtype) for shape, count in Counter(shapes).items()]
            anywhere, on_cpu = (max(bytes_) + noise for bytes_ in zip(*found))
            label = next((s.name for s in segment.stages if s.is_matrix), segment.labels[0])
            yield Temporary(f"matrices of {label}, one tensor or stack at a time", anywhere, on_cpu)
            continue
        rounds = segment.analysis.rounds * largest * work.itemsize
        scratch = kept * max(min(largest, SCRATCH), threads * min(largest, SMALL)) * work.itemsize
        what = " and ".join(["noise"] * bool(noise) + ["values kept until a layer's norm is known"] * bool(rounds))
        yield Temporary(f"{what}, one tensor at a time", noise + rounds, noise + scratch)


def _copied(plan: GroupPlan, matrices: Matrices, dtype: torch.dtype) -> tuple[int, int]:
    """Bytes that are copied of a parameter whose parts lie in columns: its gradient, and while it steps the rest."""
    if matrices.lie_in_rows:
        return 0, 0
    elements = matrices.outer * matrices.length * matrices.inner
    own = [name for name in plan.buffers if name not in plan.factor_buffers]
    size = dtype.itemsize + sum(plan.dtype_of(name, dtype).itemsize for name in own)
    return elements * dtype.itemsize, elements * size


def _kept_aside(plan: GroupPlan, segment: Segment, number: int, work: torch.dtype) -> int | None:
    """Values an element that native code keeps aside, None for what is no native code."""
    estimator = plan.pipeline.estimator
    if segment.is_matrix or segment.stages[0].refresh_every > 0:
        return None
    try:
        recording = record(segment, _conditions(estimator, number))
    except NotElementwise:
        return None
    exact = (plan.state_dtype in (None, work),) * len(segment.buffers)
    return schedule(recording, exact, keep=True).spilled


def _conditions(estimator: Any, number: int) -> Conditions:
    return Conditions(estimator.gives_hessian, estimator.gives_difference, number > 0)


def _of_matrices(plan: GroupPlan, segment: Segment, shape: Shape, count: int, dtype: torch.dtype) -> tuple[int, int]:
    """The most that a step or a refresh of one or a stack of such tensors holds: on a GPU or uncompiled, on a CPU."""
    parameter = torch.empty(shape, dtype=dtype, device="meta")
    work = working_dtype(dtype)
    flat = shape if plan.is_matrix else (parameter.numel(),)
    own = plan.shapes(parameter, one_matrix(*shape) if plan.is_matrix else None)

    def tensor(shape: Shape, dtype: torch.dtype = work) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    in_own_shape = plan.factor_buffers | plan.coded(parameter).keys()
    theta, x = tensor(flat, dtype), tensor(flat, dtype if segment is plan.segments[0] else work)
    buffers = [
        tensor(own[name] if name in in_own_shape else flat, dtype_kept(plan, name, parameter))
        for name in segment.buffers
    ]
    given = StepInputs(
        gradient=None if segment is plan.segments[0] else tensor(flat, dtype),
        live=tensor((len(plan.numbers(1)),), torch.float64),
        total_norm=tensor(()),
        totals=tuple(tensor((), torch.float64) for _ in segment.totals),
        normals=tuple(tensor(flat) for _ in segment.noisy),
        probes=tuple(tensor(flat) for _ in segment.probing),
        key=tensor((), torch.int64) if plan.rounds_stochastically else None,
    )
    due = [k for k in (1, 1 + segment.stages[0].refresh_every) if segment.refreshes(k, "")]
    refreshing = max((peak_bytes(lambda k=k: segment.refresh(k, theta, x, given, *buffers)) for k in due), default=0)
    alone = max(peak_bytes(lambda: segment.evaluate(TorchContext, theta, x, given, *buffers)), refreshing)
    program = _program(plan, segment, dtype)
    if program is None:
        return alone, alone
    shapes = shapes_of_forms(segment, flat)
    one = MatrixInputs(theta, x, given.gradient, None, None, given.normals, buffers, 0, "", shapes)
    steps = MatrixSteps(program, (), segment.updates, segment.formats)

    def stepping(device: str) -> int:
        high = most_in_stack(flat[0], prod(flat[1:]), device, count)
        numbers = [0.0] * (segment.live_layout.columns + 1)
        return peak_bytes(lambda: steps([one] * high, numbers, (), None))

    high = most_in_stack(flat[0], prod(flat[1:]), "cuda", count)
    together = high * (refreshing + theta.numel() * work.itemsize * 4) if due and high > 1 else 0
    aside = _scratch(program, prod(flat), work)
    return max(alone, together, stepping("cuda")), max(refreshing, stepping("cpu") + aside)


def _program(plan: GroupPlan, segment: Segment, dtype: torch.dtype) -> Program | None:
    """A segment of matrices as what kernels and BLAS take, None where it is none."""
    number, work = plan.segments.index(segment), working_dtype(dtype)
    found = zip(segment.buffers, segment.formats)
    kinds = [plan.dtype_of(name, dtype) if form is None else form for name, form in found]
    if not segment.is_matrix:
        return None
    try:
        recording = with_triangles(record(segment, _conditions(plan.pipeline.estimator, number)), packed_in(kinds))
        return cut(recording, [kind is work for kind in stored(kinds)])
    except Exception:  # a stage that speaks torch, not the language of At
        return None


def _scratch(program: Program, elements: int, work: torch.dtype) -> int:
    """What the loops of a program keep aside."""
    threads = torch.get_num_threads()
    kept = max(
        (schedule(one.trace, (True,) * len(one.trace.buffers), keep=True).spilled for one in program.loops), default=0
    )
    return kept * max(min(elements, SCRATCH), threads * min(elements, SMALL)) * work.itemsize


def _estimate(taken: Sequence[tuple[GroupPlan, Sequence[Shape]]], dtype: torch.dtype) -> Iterator[Temporary]:
    """What the estimator and a guard allocate."""
    pipeline: Any = taken[0][0].pipeline
    elements = [prod(shape) for _, shapes in taken for shape in shapes]
    estimator, size = pipeline.estimator, dtype.itemsize
    copies = estimator.copies * sum(elements) * size
    if estimator.draws_directions:  # at the first step in float64 too, to see that σ is not lost in rounding
        copies += max(elements) * (2 * size + 32)
    elif estimator.copies > 1:
        copies += max(elements) * 2 * size
    yield Temporary(f"copies of {estimator.name}, without the graph of the loss", copies, copies)
    if any(plan.pipeline.nonfinite_policy for plan, _ in taken):
        looked = 3 * max(elements) * size
        yield Temporary("guard's look at one gradient", looked, looked)
