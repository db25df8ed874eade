"""One claim of the paper: what it says, what we measured, and the verdict that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERDICTS = ("reproduced", "partly", "not seen")


@dataclass(frozen=True)
class Claim:
    """A figure or table of Zhao et al. 2025, tried at small scale.

    Attributes:
        name: as the command takes it, such as "fig1".
        paper, ours: what the paper says, and our figures.
        verdict: one of VERDICTS, by the rule that `ours` or `caveat` states.
        table: rows of the same columns.
        pictures: what was drawn.
        commands: what else to type to get to the figures.
        caveat: what a run of this size can't decide.
    """

    name: str
    title: str
    paper: str
    ours: str
    verdict: str
    table: Sequence[Mapping[str, Any]]
    pictures: tuple[Path, ...]
    commands: str
    caveat: str

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"a verdict is one of {', '.join(VERDICTS)}, got {self.verdict!r}")
