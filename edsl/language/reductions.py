"""The reductions of a step over a whole layer, which no shard can compute alone, and over all of them.

A norm, a mean or an orthogonal factor needs all of a layer's elements. Where several processes hold them, a step
runs up to its reductions, the processes combine their partial results, and it runs again with the totals. A reduction
whose argument depends on no other belongs to round 0, and all of a round are combined at once: Lamb's two norms of all
layers are one message.

A total is over all layers, so every process runs up to it, adds up, and runs on. A value is on level 0 until a total
was asked for on the way to it, then on level 1, and so on; rounds are counted anew on each level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from edsl.language.context import Branching, Draws, NamedAt
from edsl.language.stage import BaseUpdate, Stage
from edsl.numerics.orthogonal import rounds_first


@dataclass(frozen=True)
class Reduction:
    """One call of at.norm, at.mean or at.orthogonal.

    Attributes:
        kind: "norm", "mean" or "orthogonal".
        round: how many rounds of reductions its argument depends on, since the last total.
        how: its other arguments.
        level: how many totals, one behind another, its argument depends on.
    """

    kind: str
    round: int
    how: tuple[Any, ...] = ()
    level: int = 0

    @property
    def turn(self) -> tuple[int, int]:
        """When it is asked: level by level, and on each round by round."""
        return self.level, self.round

    @property
    def is_rounded_first(self) -> bool:
        """Whether it begins by rounding its argument to bfloat16, so that no more need be sent: torch's Muon does."""
        return self.kind == "orthogonal" and rounds_first(*self.how[1:])


@dataclass(frozen=True)
class Total:
    """One call of at.total.

    Attributes:
        stage: the number of the stage that asks.
        level: how many totals, one behind another, its argument depends on.
    """

    stage: int
    level: int


@dataclass(frozen=True)
class StepAnalysis:
    """What is known of some stages without running them on tensors.

    Attributes:
        reductions, totals: in the order of the calls.
        reads_gradient: the raw gradient is read beside what flows in.
        kept: for each stage the names of the buffers that a step leaves as they are.
    """

    reductions: tuple[Reduction, ...]
    reads_gradient: bool
    kept: tuple[frozenset[str], ...]
    totals: tuple[Total, ...] = ()

    @property
    def rounds(self) -> int:
        """How many times the processes have to communicate about layers, on the level with most rounds."""
        return 1 + max((question.round for question in self.reductions), default=-1)

    @property
    def levels(self) -> int:
        """How many times all layers are added up."""
        return 1 + max((total.level for total in self.totals), default=-1)


def analyse(stages: Sequence[Stage], memory: Sequence[Any]) -> StepAnalysis:
    """Run the stages once on values that carry only the number of rounds that they depend on.

    Args:
        memory: for each stage the type of its memory.
    """
    at = AnalysisContext()
    u: Any = ReductionDepth(0)
    kept = []
    for number, (stage, memory_type) in enumerate(zip(stages, memory)):
        at.stage = number
        before = memory_type(*(ReductionDepth(0) for _ in memory_type._fields))
        u, after = stage.step(u, before, at)
        kept.append(frozenset(name for name, old, new in zip(before._fields, before, after) if new is old))
        if isinstance(stage, BaseUpdate):
            at.lr = ReductionDepth(0)
    return StepAnalysis(tuple(at.reductions), at.reads_gradient, tuple(kept), tuple(at.totals))


def totals_of(stages: Sequence[Stage], memory: Sequence[Any]) -> tuple[Total, ...]:
    """The totals that stages ask for; none of one that speaks torch, which can't ask."""
    try:
        return analyse(stages, memory).totals
    except Exception:  # somebody else's step may do what only tensors can
        return ()


def asks_of_all(stage: Stage) -> bool:
    """Whether a stage asks for a total over all layers."""
    return bool(totals_of((stage,), (type(stage.init(0.0)),)))


def segments(stages: Sequence[Stage]) -> list[tuple[Stage, ...]]:
    """The stages in parts that run as one function each.

    A stage that asks for a total begins one behind a stage that refreshes its memory: what is asked comes before that.
    """
    begins: list[int] = []
    for index, stage in enumerate(stages):
        if index == 0 or stage.begins_segment or (stages[begins[-1]].refresh_every > 0 and asks_of_all(stage)):
            begins.append(index)
    return [tuple(stages[begin:end]) for begin, end in zip(begins, [*begins[1:], len(stages)])]


class ReductionDepth:
    """A value of which only its level, and the number of rounds that it depends on there, are known."""

    def __init__(self, rounds: int, level: int = 0) -> None:
        self.rounds, self.level = rounds, level

    def _joined(self, *others: Any) -> ReductionDepth:
        return deepest(self, *others)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _joined
    __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __mod__ = __rmod__ = __matmul__ = _joined
    __neg__ = __pos__ = __abs__ = __lt__ = __le__ = __gt__ = __ge__ = _joined
    __eq__ = __ne__ = _joined  # pyright: ignore[reportAssignmentType]
    __hash__ = object.__hash__

    def __bool__(self) -> NoReturn:
        raise Branching


def deepest(*values: Any) -> ReductionDepth:
    """A value that depends on all of these."""
    depths = ((value.level, value.rounds) for value in values if isinstance(value, ReductionDepth))
    level, rounds = max(depths, default=(0, 0))
    return ReductionDepth(rounds, level)


class AnalysisContext(NamedAt):
    """Where a step happens on values that carry only their depth."""

    def __init__(self) -> None:
        self.reductions: list[Reduction] = []
        self.totals: list[Total] = []
        self.stage = 0
        self.reads_gradient = False
        self.theta = self.k = self.lr = self.total_norm = ReductionDepth(0)
        self.normals = Draws(lambda _: ReductionDepth(0))
        self.hessian = self.looks = self.rows = self.columns = ReductionDepth(0)

    @property
    def gradient(self) -> ReductionDepth:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.reads_gradient = True
        return ReductionDepth(0)

    def function(self, name: str, *arguments: Any) -> ReductionDepth:
        return deepest(*arguments)

    def norm(self, x: Any) -> ReductionDepth:
        return self._ask("norm", x)

    def mean(self, x: Any) -> ReductionDepth:
        return self._ask("mean", x)

    def total(self, x: Any) -> ReductionDepth:
        about = deepest(x)
        self.totals.append(Total(self.stage, about.level))
        return ReductionDepth(0, about.level + 1)

    def orthogonal(self, x: Any, steps: int, polynomials: str, precision: str) -> ReductionDepth:
        return self._ask("orthogonal", x, steps, polynomials, precision)

    def _ask(self, kind: str, x: Any, *how: Any) -> ReductionDepth:
        about = deepest(x)
        self.reductions.append(Reduction(kind, about.rounds, how, about.level))
        return ReductionDepth(about.rounds + 1, about.level)
