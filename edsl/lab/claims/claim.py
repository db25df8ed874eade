"""One claim of the paper: what it says, what we measured, and the verdict that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edsl.errors import either

VERDICTS = ("reproduced", "partly", "not seen")


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and what a trial gave.

    Attributes:
        paper: what the paper says. ours: what was found, with its numbers.
        verdict: one of VERDICTS, by the rule that `rule` states.
        table: rows of figures, each a mapping from column to value.
        commands: how to see it by oneself, one command a line.
        caveat: what this trial can't decide.
    """

    name: str
    title: str
    paper: str
    ours: str
    verdict: str
    rule: str
    table: tuple[Mapping[str, Any], ...]
    pictures: tuple[Path, ...]
    commands: str
    caveat: str

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"a verdict is {either(VERDICTS)}, got {self.verdict!r}")

    @property
    def tables(self) -> list[list[Mapping[str, Any]]]:
        """Its rows of figures, those that stand together and share a column beside the first as one table."""
        found: list[list[Mapping[str, Any]]] = []
        for row in self.table:
            if not found or not {*row}.intersection([*found[-1][-1]][1:]):
                found.append([])
            found[-1].append(row)
        return found


def judge(*tests: bool) -> str:
    """Verdict: "reproduced" if all tests hold, "not seen" if none does, else "partly".

    Example:
        >>> from edsl.lab.claims.claim import judge
        >>> judge(True, False)
        'partly'
    """
    if all(tests):
        return "reproduced"
    return "partly" if any(tests) else "not seen"
