"""An examination of a machine, in lines that fit a bug report."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from edsl.cli.render.page import print_text
from edsl.errors import printable
from edsl.lab.doctor.findings import Findings, StepCheck

WIDTH = 80
_NAMES = 18  # columns of the names of facts
_STEP = "  {:20}{:9}{:16}{:9}{:19}{}"


def print_findings(found: Findings) -> None:
    """Facts by section, the steps, and what to do about what is wrong."""
    print_text("\n".join(printable(_homeless(line)) for line in _lines(found)))


def _lines(found: Findings) -> Iterator[str]:
    for title, facts in found.sections.items():
        yield title
        for name, value in facts.items():
            yield from _wrapped(f"  {name:{_NAMES - 2}}", value)
    if found.steps:
        yield from _steps(found.steps)
    if found.problems:
        yield "problems"
    for problem in found.problems:
        yield from _wrapped("  fails: " if problem.fails else "  note: ", problem.what)
        yield from _wrapped("    → ", problem.advice)
    yield _verdict(found)


def _steps(steps: Sequence[StepCheck]) -> Iterator[str]:
    yield "steps: by which path, and the largest difference from a reference"
    for one in steps:
        apart = "–" if one.difference is None else f"{one.difference:.1e}"
        verdict = "right" if one.is_right else "WRONG" if one.difference is not None else "fails"
        where = f"{one.device} {one.dtype.replace('float', 'f')}"
        yield _STEP.format(one.kind, where, one.path or "–", apart, one.reference, verdict).rstrip()
    for reason in dict.fromkeys(one.reason for one in steps if one.reason):
        yield from _wrapped("  not by a kernel: ", reason)
    yield f"  in {sum(one.seconds for one in steps):.1f} s, compilation included"


def _verdict(found: Findings) -> str:
    failing = sum(problem.fails for problem in found.problems)
    if failing:
        return f"{failing} of these fail{'s' if failing == 1 else ''}"
    return "it works; see the notes above" if found.problems else "all is well"


def _wrapped(begin: str, text: str) -> list[str]:
    """A text behind its name, over as many lines as it needs."""
    indent = " " * (_NAMES if len(begin) == _NAMES else 4)
    return textwrap.wrap(begin + text, WIDTH, subsequent_indent=indent, drop_whitespace=True) or [begin.rstrip()]


def _homeless(line: str) -> str:
    """The line without the user's name in paths: reports are public."""
    home = os.environ.get("HOME") or ""
    return line.replace(home, "~") if len(Path(home).parts) > 1 else line
