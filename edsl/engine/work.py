"""One parameter before one segment, and which of them are taken together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from edsl.distributed.collectives import waves
from edsl.step.inputs import StepInputs
from edsl.step.parameter import ParameterStep
from edsl.step.segment import Segment


@dataclass(eq=False)
class SegmentWork:
    """One item before one segment.

    Attributes:
        buffers: the segment's, as its function takes them.
        needs_whole: the item is sharded, and the segment can't run on a shard.
    """

    item: ParameterStep
    segment: Segment
    inputs: StepInputs
    buffers: list[Tensor]
    needs_whole: bool

    @property
    def place(self) -> StepInputs:
        """What the step reads; noise is drawn now, so that no more of it than this item's is kept."""
        noisy = self.segment.noisy
        normals = tuple(self.item.normal(stage, label, self.needs_whole) for stage, label in noisy)
        return self.inputs._replace(normals=normals) if noisy else self.inputs

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
        kept = frozenset() if self.segment.refreshes(self.item.k) else self.segment.kept
        return [place for place, name in enumerate(self.segment.buffers) if name not in kept]

    def set_result(self, place: int, answer: Tensor) -> None:
        """Take the answer to the segment's question of this number."""
        answers = list(self.inputs.answers or ())
        answers[place] = answer
        self.inputs = self.inputs._replace(answers=tuple(answers))


def waves_of(works: Sequence[SegmentWork]) -> Iterator[list[SegmentWork]]:
    """First all turns that gather no matrix; then those that do, so many that each process gets one."""
    yield [work for work in works if not work.gathers]
    gathering = [work for work in works if work.gathers]
    for wave in waves([work.item.shards for work in gathering]):
        yield [gathering[i] for i in wave]
