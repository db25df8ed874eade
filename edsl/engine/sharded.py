"""How the processes that share layers confer in a step: sums in one message, matrices in waves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edsl.distributed.collectives import Bundle, gather_to_owners, scatter_from_owners, summed, waves
from edsl.engine.work import SegmentWork
from edsl.language.reductions import Reduction
from edsl.numerics.dtypes import working_dtype
from edsl.step.layout import matrix_shape


@dataclass(frozen=True, eq=False)
class PartialResult:
    """What one shard can tell for one question of its segment."""

    turn: SegmentWork
    place: int
    question: Reduction
    part: Tensor


def reduce_all(told: Sequence[PartialResult], orthogonal: Callable[..., Tensor]) -> None:
    """Put together what all shards tell, and let everybody learn the answers.

    Args:
        orthogonal: a whole matrix and how it is asked for → its orthogonal factor.
    """
    _add_up([part for part in told if part.question.kind != "orthogonal"])
    _factor([part for part in told if part.question.kind == "orthogonal"], orthogonal)


def identity_part(theta: Tensor, question: Reduction) -> Tensor:
    """What a shard without elements has to tell."""
    empty = theta.to(working_dtype(theta.dtype))
    return empty if question.kind == "orthogonal" else empty.sum()


def _add_up(told: Sequence[PartialResult]) -> None:
    parts = [part.part.double().square() if part.question.kind == "norm" else part.part for part in told]
    for part, total in zip(told, summed(parts, [part.turn.item.shards for part in told])):
        answer = total.sqrt() if part.question.kind == "norm" else total / part.turn.item.parameter.numel()
        part.turn.set_result(part.place, answer.to(part.part.dtype))


def _factor(told: Sequence[PartialResult], orthogonal: Callable[..., Tensor]) -> None:
    bundles = []
    for part in told:
        shards, (_, _, precision) = part.turn.item.shards, part.question.how
        assert shards is not None  # only sharded items ask
        sent = part.part.bfloat16() if precision == "bfloat16" else part.part  # as the factor itself begins
        bundles.append(Bundle([shards], [sent]))
    for wave in waves([bundle.shards[0] for bundle in bundles]):
        chosen = [bundles[i] for i in wave]
        wholes, rank = gather_to_owners(chosen), chosen[0].group.rank()
        if wholes is not None:
            (whole,) = wholes
            factor = orthogonal(whole.view(matrix_shape(whole)), *told[wave[rank]].question.how)
            wholes = [factor.view(whole.shape)]
        for i, (piece,) in zip(wave, scatter_from_owners(chosen, wholes)):
            part = told[i]
            part.turn.set_result(part.place, piece.to(part.part.dtype).view(part.part.shape))


def step_gathered(turns: Sequence[SegmentWork], step: Callable[..., Tensor]) -> None:
    """Bring each turn's tensors together on one process, take its step there, and hand back what changed.

    Args:
        step: (turn, θ, x, given, buffers), all whole → what flows out, or θ where it was updated.
    """
    inbound = [_inbound(turn) for turn in turns]
    outbound = [_outbound(turn) for turn in turns]
    for wave in waves([bundle.shards[0] for bundle in inbound]):
        chosen = [inbound[i] for i in wave]
        wholes = gather_to_owners(chosen)
        if wholes is not None:
            wholes = _whole_step(turns[wave[chosen[0].group.rank()]], wholes, step)
        for i, pieces in zip(wave, scatter_from_owners([outbound[i] for i in wave], wholes)):
            _take(turns[i], pieces)


def _inbound(turn: SegmentWork) -> Bundle:
    item = turn.item
    assert item.shards is not None  # only sharded items come together
    flowing = [item.theta, item.x, *turn.gradients]
    shards = [item.shards] * len(flowing) + [item.shards_of(name) for name in turn.segment.buffers]
    return Bundle(shards, [*flowing, *turn.buffers])


def _outbound(turn: SegmentWork) -> Bundle:
    item = turn.item
    assert item.shards is not None  # as above
    made = item.theta if turn.segment.updates else torch.empty_like(item.theta, dtype=working_dtype(item.theta.dtype))
    shards = [item.shards, *(item.shards_of(turn.segment.buffers[place]) for place in turn.changed)]
    return Bundle(shards, [made, *(turn.buffers[place] for place in turn.changed)])


def _whole_step(turn: SegmentWork, wholes: Sequence[Tensor], step: Callable[..., Tensor]) -> list[Tensor]:
    count = 2 + len(turn.gradients)
    theta, x, *gradients = (whole.view(matrix_shape(whole)) for whole in wholes[:count])
    given = turn.place._replace(gradient=gradients[0] if gradients else None)
    reshaped = turn.item.plan.factor_buffers
    buffers = [
        whole if name in reshaped else whole.view(matrix_shape(whole))
        for name, whole in zip(turn.segment.buffers, wholes[count:])
    ]
    made = step(turn, theta, x, given, buffers)
    shape = tuple(turn.item.parameter.shape)
    changed = [(turn.segment.buffers[place], buffers[place]) for place in turn.changed]
    return [made.view(shape), *(buffer if name in reshaped else buffer.view(shape) for name, buffer in changed)]


def _take(turn: SegmentWork, pieces: Sequence[Tensor]) -> None:
    made, *changed = pieces
    if turn.segment.updates:
        turn.item.theta.copy_(made.view(turn.item.theta.shape))
    else:
        turn.item.x = made.view(turn.item.theta.shape)
    for place, piece in zip(turn.changed, changed):
        turn.buffers[place].copy_(piece.view(turn.buffers[place].shape))
