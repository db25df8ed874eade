"""What an examination of a machine finds: facts by section, steps beside references, problems with remedies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edsl.errors import first_line


@dataclass(frozen=True)
class Problem:
    """Something that is wrong here.

    Attributes:
        what: is wrong.
        advice: what to do about it.
        fails: edsl can't be used, or gives wrong results; otherwise it is only slower, or lacks something.
    """

    what: str
    advice: str
    fails: bool = False


@dataclass(frozen=True)
class Section:
    """Facts of one kind, by name, and the problems among them."""

    facts: Mapping[str, str] = field(default_factory=dict)
    problems: Sequence[Problem] = ()


@dataclass(frozen=True)
class StepCheck:
    """A pipeline stepped here beside an independent reference.

    Attributes:
        kind: of stages that it stands for.
        spec: its text.
        device, dtype: of its parameters.
        reference: what else took the same steps.
        path: by which its stages stepped, as `optimizer.paths()` says.
        reason: why by no faster one, "" where there is none.
        difference: the largest |a − b| / max(1, |b|) over all weights and steps; None where it didn't step.
        tolerance: the largest that is right.
        seconds: it took, compilation included.
        error: why it didn't step, "" where it did.
    """

    kind: str
    spec: str
    device: str
    dtype: str
    reference: str
    path: str
    reason: str
    difference: float | None
    tolerance: float
    seconds: float
    error: str = ""

    @property
    def is_right(self) -> bool:
        return self.difference is not None and self.difference <= self.tolerance


@dataclass(frozen=True)
class Findings:
    """All that was found."""

    sections: Mapping[str, Mapping[str, str]]
    steps: Sequence[StepCheck]
    problems: Sequence[Problem]

    @property
    def fails(self) -> bool:
        return any(problem.fails for problem in self.problems)


def examined(title: str, look: Callable[[], Section]) -> Section:
    """What a look finds, or that it could not be taken: no fault of a machine ends the examination."""
    try:
        return look()
    except Exception as reason:  # of whatever is broken here
        return Section(problems=[Problem(f"{title}: {first_line(reason, 300)}", "report this as a bug", fails=True)])
