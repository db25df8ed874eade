"""The collective operations of a step on sharded layers: reductions in one all-reduce, whole matrices in waves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edsl.distributed.collectives import Bundle, gather_to_owners, scatter_from_owners, summed, waves
from edsl.engine.work import SegmentWork
from edsl.language.reductions import Reduction
from edsl.numerics.dtypes import working_dtype
from edsl.numerics.stochastic_rounding import key_of
from edsl.step.inputs import StepInputs
from edsl.step.layout import matrix_shape
from edsl.step.parts.decoded import decoded, encode_into
from edsl.step.parts.matrices import Matrix, name_of
from edsl.step.parts.part import finders


@dataclass(frozen=True, eq=False)
class PartialResult:
    """A shard's partial result of one reduction of its segment, by the number of the reduction."""

    work: SegmentWork
    place: int
    reduction: Reduction
    part: Tensor


def reduce_all(results: Sequence[PartialResult], orthogonal: Callable[..., Tensor]) -> None:
    """Combine the partial results of all shards, and set the results in the works of all of them.

    Args:
        orthogonal: a whole matrix and the arguments of `at.orthogonal` → its orthogonal factor.
    """
    _add_up([part for part in results if part.reduction.kind != "orthogonal"])
    _factor([part for part in results if part.reduction.kind == "orthogonal"], orthogonal)


def identity_part(theta: Tensor, reduction: Reduction) -> Tensor:
    """The partial result of a shard without elements."""
    empty = theta.to(working_dtype(theta.dtype))
    return empty if reduction.kind == "orthogonal" else empty.sum()


def _add_up(results: Sequence[PartialResult]) -> None:
    parts = [part.part.double().square() if part.reduction.kind == "norm" else part.part for part in results]
    for part, total in zip(results, summed(parts, [part.work.item.shards for part in results])):
        answer = total.sqrt() if part.reduction.kind == "norm" else total / part.work.item.parameter.numel()
        part.work.set_result(part.place, answer.to(part.part.dtype))


def _factor(results: Sequence[PartialResult], orthogonal: Callable[..., Tensor]) -> None:
    bundles = []
    for part in results:
        shards = part.work.item.shards
        assert shards is not None  # only sharded items ask
        sent = part.part.bfloat16() if part.reduction.is_rounded_first else part.part
        bundles.append(Bundle([shards], [sent]))
    for wave in waves([bundle.shards[0] for bundle in bundles]):
        chosen = [bundles[i] for i in wave]
        wholes, rank = gather_to_owners(chosen), chosen[0].group.rank()
        if wholes is not None:
            (whole,) = wholes
            factor = orthogonal(whole.view(matrix_shape(whole)), *results[wave[rank]].reduction.how)
            wholes = [factor.view(whole.shape)]
        for i, (piece,) in zip(wave, scatter_from_owners(chosen, wholes)):
            part = results[i]
            part.work.set_result(part.place, piece.to(part.part.dtype).view(part.part.shape))


def step_gathered(works: Sequence[SegmentWork], step: Callable[..., Tensor]) -> None:
    """Gather each work's tensors on one process, take its step there, and scatter what changed.

    Args:
        step: (work, θ, x, inputs, buffers), all whole → what flows out, or θ where it was updated.
    """
    inbound = [_inbound(work) for work in works]
    outbound = [_outbound(work) for work in works]
    for wave in waves([bundle.shards[0] for bundle in inbound]):
        chosen = [inbound[i] for i in wave]
        wholes = gather_to_owners(chosen)
        if wholes is not None:
            wholes = _whole_step(works[wave[chosen[0].group.rank()]], wholes, step)
        for i, pieces in zip(wave, scatter_from_owners([outbound[i] for i in wave], wholes)):
            _take(works[i], pieces)


def _inbound(work: SegmentWork) -> Bundle:
    item = work.item
    assert item.shards is not None  # only sharded items come together
    flowing = [item.theta, item.x, *work.gradients]
    shards = [item.shards] * len(flowing) + [item.shards_of(name) for name in work.segment.buffers]
    return Bundle(shards, [*flowing, *work.buffers])


def _outbound(work: SegmentWork) -> Bundle:
    item = work.item
    assert item.shards is not None  # as above
    made = item.theta if work.segment.updates else torch.empty_like(item.theta, dtype=working_dtype(item.theta.dtype))
    shards = [item.shards, *(item.shards_of(work.segment.buffers[place]) for place in work.changed)]
    return Bundle(shards, [made, *(work.buffers[place] for place in work.changed)])


def _whole_step(work: SegmentWork, wholes: Sequence[Tensor], step: Callable[..., Tensor]) -> list[Tensor]:
    count = 2 + len(work.gradients)
    theta, x, *gradients = (whole.view(matrix_shape(whole)) for whole in wholes[:count])
    inputs = work.inputs_with_noise()._replace(gradient=gradients[0] if gradients else None)
    item, segment = work.item, work.segment
    reshaped = item.plan.factor_buffers | item.coded.keys()
    buffers = [
        whole if name in reshaped else whole.view(matrix_shape(whole))
        for name, whole in zip(segment.buffers, wholes[count:])
    ]
    if item.is_cut:
        values = decoded(segment, buffers, theta.shape, working_dtype(theta.dtype))
        made = _step_parts(step, work, theta, x, inputs, values)
        encode_into(segment, buffers, values, inputs.key)
    else:
        made = step(work, theta, x, inputs, buffers)
    shape = tuple(item.parameter.shape)
    changed = [(segment.buffers[place], buffers[place]) for place in work.changed]
    return [made.view(shape), *(buffer if name in reshaped else buffer.view(shape) for name, buffer in changed)]


def _step_parts(
    step: Callable[..., Tensor], work: SegmentWork, theta: Tensor, x: Tensor, inputs: StepInputs, buffers: list[Tensor]
) -> Tensor:
    """Step each matrix of a parameter that is several; what flows out of all, or θ where it was updated."""
    item, matrices = work.item, work.item.matrices
    assert matrices is not None  # only what is cut comes here
    made = theta if work.segment.updates else torch.empty_like(theta, dtype=working_dtype(theta.dtype))
    for part, factors in zip(matrices.parts, finders(item.plan, matrices)):

        def of(tensor: Tensor, part: Matrix = part) -> Tensor:
            return matrices.take(tensor, part)

        own = [
            factors[name](buffer) if name in factors else of(buffer)
            for name, buffer in zip(work.segment.buffers, buffers)
        ]
        own_inputs = inputs._replace(
            gradient=None if inputs.gradient is None else of(inputs.gradient),
            normals=tuple(map(of, inputs.normals)),
            probes=tuple(map(of, inputs.probes)),
            key=None if inputs.key is None else inputs.key.new_tensor(key_of(name_of(item.name, part.name), item.k)),
        )
        flows = step(work, of(theta), of(x), own_inputs, own)
        if not (matrices.lie_in_rows and work.segment.updates):  # else θ was updated where it lies
            matrices.put(made, part, flows)
        for name, buffer, after in zip(work.segment.buffers, buffers, own):
            if name not in factors and not matrices.lie_in_rows:
                matrices.put(buffer, part, after)
    return made


def _take(work: SegmentWork, pieces: Sequence[Tensor]) -> None:
    made, *changed = pieces
    if work.segment.updates:
        work.item.theta.copy_(made.view(work.item.theta.shape))
    else:
        work.item.x = made.view(work.item.theta.shape)
    for place, piece in zip(work.changed, changed):
        work.buffers[place].copy_(piece.view(work.buffers[place].shape))
