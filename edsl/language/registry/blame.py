"""Errors in the code of stages that somebody else wrote, in a line with file and line."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from edsl.errors import EdslError, brief, first_line, nearest
from edsl.language.context import At, Branching
from edsl.language.registry.stages import load
from edsl.language.stage import Stage

_ON_LETTERS = "a step also runs on letters: take functions from `at`, such as at.sqrt(x), not from torch or math"
_NO_BRANCH = (
    "a step can't branch on a value (if, and, or, max, ==): write at.where(x > y, a, b), at.every, at.first, at.maximum"
)


def is_authored(kind: type) -> bool:
    """Whether a class of stages is not one of edsl's own."""
    return not kind.__module__.startswith("edsl.")


@contextmanager
def blaming() -> Iterator[None]:
    """Inside, an exception of a user's own stage is raised as the line that `blamed` has for it."""
    try:
        yield
    except EdslError:
        raise
    except Exception as reason:
        of_stage = blamed(reason)
        if of_stage is None:
            raise
        raise of_stage from reason


def blamed(reason: BaseException) -> EdslError | None:
    """An error in the code of a stage that somebody else wrote as one line; None for what is not."""
    found = _frames(reason)
    begin = next((place for place, (frame, _) in enumerate(found) if _is_of_stage(frame)), None)
    if begin is None:
        return None
    file = found[begin][0].f_code.co_filename
    line = [line for frame, line in found[begin:] if frame.f_code.co_filename == file][-1]
    name = type(found[begin][0].f_locals["self"]).__name__
    return EdslError(f"{file}, line {line}: {name}: {explained(reason)}")


def line_of(reason: BaseException, file: Any) -> str:
    """ ", line 3" where an error came from the third line of a file, or that line can't be read as Python."""
    own = [line for frame, line in _frames(reason) if _is_file(frame.f_code.co_filename, file)]
    if isinstance(reason, SyntaxError) and reason.filename and _is_file(reason.filename, file):
        own = [reason.lineno]
    return f", line {own[-1]}" if own and own[-1] else ""


def file_of(kind: type) -> str:
    """The file that a class is written in."""
    return str(getattr(sys.modules.get(kind.__module__), "__file__", kind.__module__))


def _is_file(name: str, file: Any) -> bool:
    return Path(name).resolve() == Path(file).resolve()


def explained(reason: BaseException) -> str:
    """What an error says, in a line, with what to do where that is known."""
    if isinstance(reason, Branching):
        return _NO_BRANCH
    unknown = re.match(r"'\w+(?:At|Context)' object has no attribute '(\w+)'", str(reason))
    if unknown:
        known = [name for name in dir(At) if not name.startswith("_")]
        return f"at has no {unknown[1]}; {nearest(unknown[1], known, 'it has')}"
    said = brief(reason) if isinstance(reason, EdslError) else first_line(reason)
    return f"{said}; {_ON_LETTERS}" if is_about_letters(reason) else said


def is_about_letters(reason: BaseException) -> bool:
    """Whether a function, an operator or a method of tensors met what is no tensor."""
    return isinstance(reason, (TypeError, AttributeError)) and bool(
        re.search(r"\b(Expression|Formula|ReductionDepth|Symbol|Add|Mul|convert expression)\b", str(reason))
    )


def is_of_tensors(reason: BaseException) -> bool:
    """Whether the same would do with a tensor."""
    tensor = load("torch:Tensor")
    method = re.match(r"'\w+' object has no attribute '(\w+)'", str(reason))
    if method:
        return method[1] in dir(tensor)
    return "must be real number" not in str(reason)  # as the functions of `math` say


def _frames(reason: BaseException) -> list[tuple[FrameType, int]]:
    found = []
    trace = reason.__traceback__
    while trace is not None:
        found.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    return found


def _is_of_stage(frame: FrameType) -> bool:
    own = frame.f_locals.get("self")
    return isinstance(own, Stage) and is_authored(type(own)) and not _is_ours(frame)


def _is_ours(frame: FrameType) -> bool:
    """Whether the code is edsl's, such as a method that the stage inherits."""
    return str(frame.f_globals.get("__name__", "")).startswith("edsl.")


def wrong(kind: type[Stage], what: str, about: str = "") -> EdslError:
    """An error about a class, at the line of a field or method of it."""
    try:
        lines, first = inspect.getsourcelines(kind)
        file = inspect.getsourcefile(kind)
    except (OSError, TypeError):  # written at a prompt
        return EdslError(f"{kind.__name__}: {what}")
    pattern = rf"\s*(def\s+{about}\b|{about}\s*[:=])" if about else r"\s*class\s"
    place = next((place for place, line in enumerate(lines) if re.match(pattern, line)), 0)
    return EdslError(f"{file}, line {first + place}: {kind.__name__}: {what}")
