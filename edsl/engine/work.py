"""One parameter before one segment with all that it reads, and which of them are taken together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edsl.distributed.collectives import waves
from edsl.numerics.stochastic_rounding import key_of
from edsl.step.inputs import StepInputs
from edsl.step.layout import matrix_shape
from edsl.step.parameter import ParameterStep
from edsl.step.segment import Segment


@dataclass(eq=False)
class SegmentWork:
    """One parameter step before one segment.

    Attributes:
        inputs: what the step reads beside θ, x and its buffers, but for noise.
        buffers: the segment's, as its function takes them.
        needs_whole: the parameter is sharded, and the segment can't run on a shard.
    """

    item: ParameterStep
    segment: Segment
    inputs: StepInputs
    buffers: list[Tensor]
    needs_whole: bool

    def inputs_with_noise(self) -> StepInputs:
        """What the step, and a refresh that is due, read; noise is drawn at each call, and not kept here."""
        segment, item = self.segment, self.item
        probing = segment.probing if segment.probing and segment.refreshes(item.k, item.name) else ()
        normals, probes = (
            tuple(item.normal(stage, label, self.needs_whole) for stage, label in drawing)
            for drawing in (segment.noisy, probing)
        )
        return self.inputs._replace(normals=normals, probes=probes) if normals or probes else self.inputs

    @property
    def gathers(self) -> bool:
        """Whether its matrix is brought together on one process."""
        asks = self.inputs.answers is not None
        return self.needs_whole or (asks and any(q.kind == "orthogonal" for q in self.segment.analysis.reductions))

    @property
    def gradients(self) -> list[Tensor]:
        """The raw gradient, where it is something else than what flows in, and is read."""
        gradient = self.inputs.gradient
        return [] if gradient is None or not self.segment.analysis.reads_gradient else [gradient]

    @property
    def changed(self) -> list[int]:
        """The places of the buffers that this step changes."""
        kept = frozenset() if self.segment.refreshes(self.item.k, self.item.name) else self.segment.kept
        return [place for place, name in enumerate(self.segment.buffers) if name not in kept]

    def set_result(self, place: int, answer: Tensor) -> None:
        """Take the answer to the segment's question of this number."""
        answers = list(self.inputs.answers or ())
        answers[place] = answer
        self.inputs = self.inputs._replace(answers=tuple(answers))


def work_of(
    item: ParameterStep,
    number: int,
    norm: Tensor | None,
    totals: tuple[Tensor | None, ...],
    lives: dict[Any, Tensor],
) -> SegmentWork:
    """A parameter step before its segment of this number, with all that it reads.

    Args:
        norm, totals: what is known over all layers.
        lives: the live values of other items, kept for those that share them.
    """
    segment, device = item.plan.segments[number], item.theta.device
    key = (id(item.plan), item.k, device)
    live = lives.get(key)
    if live is None:
        live = lives[key] = item.plan.live(item.k, device)
    needs_whole = item.is_sharded_here and (not segment.serves_all_sizes or _asks_of_parts(item, segment))
    asks = item.is_sharded_here and not needs_whole
    inputs = StepInputs(
        gradient=item.gradient if number > 0 else None,
        live=live,
        total_norm=None if norm is None else norm.to(device),
        totals=totals,
        hessian=item.hessian,
        difference=item.difference,
        answers=(None,) * len(segment.analysis.reductions) if asks else None,
        shape=_size(matrix_shape(item.parameter), live) if asks and item.plan.is_matrix else None,
        key=torch.tensor(_key(item, needs_whole), device=device) if item.plan.rounds_stochastically else None,
    )
    return SegmentWork(item, segment, inputs, item.memory(segment), needs_whole)


def _key(item: ParameterStep, needs_whole: bool) -> int:
    """That of an item's stochastic rounding; shards that step apart draw noise of their own, copies of one the same."""
    if needs_whole or item.shards is None or not item.is_sharded_here:
        return item.key
    return key_of(f"{item.name}@{item.shards.place}", item.k)


def _asks_of_parts(item: ParameterStep, segment: Segment) -> bool:
    """Whether a segment asks about the matrices of a parameter that is several."""
    return item.is_cut and (bool(segment.analysis.reductions) or any(stage.is_matrix for stage in segment.stages))


def _size(shape: tuple[int, int], like: Tensor) -> Tensor:
    """Rows and columns as live values."""
    return torch.tensor(shape, dtype=like.dtype, device=like.device)


def waves_of(works: Sequence[SegmentWork]) -> Iterator[list[SegmentWork]]:
    """First all works that gather no matrix; then those that do, so many at a time that each process gets one."""
    yield [work for work in works if not work.gathers]
    gathering = [work for work in works if work.gathers]
    for wave in waves([work.item.shards for work in gathering]):
        yield [gathering[i] for i in wave]
