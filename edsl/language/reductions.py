"""The reductions of a step over a whole layer, which no shard can compute alone.

A norm, a mean or an orthogonal factor needs all of a layer's elements. Where several processes hold them, a step
runs up to its reductions, the processes combine their partial results, and it runs again with the totals. A reduction
whose argument depends on no other belongs to round 0, and all of a round are combined at once: Lamb's two norms of all
layers are one message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from edsl.language.context import Branching, NamedAt
from edsl.language.stage import BaseUpdate, Stage
from edsl.numerics.orthogonal import rounds_first


@dataclass(frozen=True)
class Reduction:
    """One call of at.norm, at.mean or at.orthogonal.

    Attributes:
        kind: "norm", "mean" or "orthogonal".
        round: how many rounds of reductions its argument depends on.
        how: its other arguments.
    """

    kind: str
    round: int
    how: tuple[Any, ...] = ()

    @property
    def is_rounded_first(self) -> bool:
        """Whether it begins by rounding its argument to bfloat16, so that no more need be sent: torch's Muon does."""
        return self.kind == "orthogonal" and rounds_first(*self.how[1:])


@dataclass(frozen=True)
class StepAnalysis:
    """What is known of some stages without running them on tensors.

    Attributes:
        reductions: in the order of the calls.
        reads_gradient: the raw gradient is read beside what flows in.
        kept: for each stage the names of the buffers that a step leaves as they are.
    """

    reductions: tuple[Reduction, ...]
    reads_gradient: bool
    kept: tuple[frozenset[str], ...]

    @property
    def rounds(self) -> int:
        """How many times the processes have to communicate."""
        return 1 + max((question.round for question in self.reductions), default=-1)


def analyse(stages: Sequence[Stage], memory: Sequence[Any]) -> StepAnalysis:
    """Run the stages once on values that carry only the number of rounds that they depend on.

    Args:
        memory: for each stage the type of its memory.
    """
    at = AnalysisContext()
    u: Any = ReductionDepth(0)
    kept = []
    for stage, memory_type in zip(stages, memory):
        before = memory_type(*(ReductionDepth(0) for _ in memory_type._fields))
        u, after = stage.step(u, before, at)
        kept.append(frozenset(name for name, old, new in zip(before._fields, before, after) if new is old))
        if isinstance(stage, BaseUpdate):
            at.lr = ReductionDepth(0)
    return StepAnalysis(tuple(at.reductions), at.reads_gradient, tuple(kept))


class ReductionDepth:
    """A value of which only the number of rounds that it depends on is known."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds

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
    return ReductionDepth(max((value.rounds for value in values if isinstance(value, ReductionDepth)), default=0))


class AnalysisContext(NamedAt):
    """Where a step happens on values that carry only their depth."""

    def __init__(self) -> None:
        self.reductions: list[Reduction] = []
        self.reads_gradient = False
        self.theta = self.k = self.lr = self.total_norm = self.normal = ReductionDepth(0)
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

    def orthogonal(self, x: Any, steps: int, polynomials: str, precision: str) -> ReductionDepth:
        return self._ask("orthogonal", x, steps, polynomials, precision)

    def _ask(self, kind: str, x: Any, *how: Any) -> ReductionDepth:
        about = deepest(x)
        self.reductions.append(Reduction(kind, about.rounds, how))
        return ReductionDepth(about.rounds + 1)
