"""Stages that somebody else wrote: whether one is a stage, and where in its file an error lies.

A class is looked at once, when a plugin brings it or a first pipeline holds it: its fields, its memory, and
its step, taken on values that know nothing. What is wrong is one line with file and line.
"""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import Field, fields
from keyword import iskeyword
from pathlib import Path
from types import FrameType
from typing import Any
from weakref import WeakSet

from edsl.codegen.expression import Branching
from edsl.errors import EdslError, nearest, shown
from edsl.language.reductions import Depth, ReadingAt
from edsl.language.stage import Adaptor, At, BaseUpdate, Estimator, Stage, Wrapper

# What param groups and calls hold beside hyper-parameters.
_TAKEN = (
    *("params", "param_names", "pipeline", "stages", "exclude", "maximize", "route", "nominal_lr"),
    *("calls", "nonfinite_steps", "batch_size"),
)
_WITHIN = {Estimator: "{} | sgd", Adaptor: "grad | {} | sgd", BaseUpdate: "{}", Wrapper: "sgd | {}"}
_ON_LETTERS = "a step also runs on letters: take functions from `at`, such as at.sqrt(x), not from torch or math"
_NO_BRANCH = "a step can't branch on a value (if, and, or, max, ==): write at.every, at.first, at.maximum, at.positive"
_checked: WeakSet[type[Stage]] = WeakSet()


def is_authored(kind: type) -> bool:
    """Whether a class of stages is not one of edsl's own."""
    return not kind.__module__.startswith("edsl.")


def check_stage(kind: type[Stage]) -> None:
    """Raises EdslError, with file and line, for a class that can't be a stage; each class is looked at once."""
    if kind in _checked or not is_authored(kind):
        return
    _checked.add(kind)
    try:
        _check_fields(kind)
        if not kind.takes_stages:
            _check_step(kind, _built(kind))
    except BaseException:
        _checked.discard(kind)
        raise


def blamed(reason: BaseException) -> EdslError | None:
    """An error in the code of a stage that somebody else wrote as one line; None for what is not."""
    found = _frames(reason)
    begin = next((place for place, (frame, _) in enumerate(found) if _is_of_stage(frame)), None)
    if begin is None:
        return None
    file = found[begin][0].f_code.co_filename
    line = [line for frame, line in found[begin:] if frame.f_code.co_filename == file][-1]
    name = type(found[begin][0].f_locals["self"]).__name__
    return EdslError(f"{file}, line {line}: {name}: {_said(reason)}")


def first_line(reason: BaseException) -> str:
    """An error of somebody else's code in one line."""
    first = (str(reason).strip().splitlines() or [""])[0]
    return f"{type(reason).__name__}: {first}".removesuffix(": ")


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


def _said(reason: BaseException) -> str:
    """What an error says, in a line, with what to do where that is known."""
    if isinstance(reason, Branching):
        return _NO_BRANCH
    unknown = re.match(r"'\w+At' object has no attribute '(\w+)'", str(reason))
    if unknown:
        known = [name for name in dir(At) if not name.startswith("_")]
        return f"at has no {unknown[1]}; {nearest(unknown[1], known, 'it has')}"
    said = str(reason).splitlines()[0] if isinstance(reason, EdslError) else first_line(reason)
    return f"{said}; {_ON_LETTERS}" if _is_about_letters(reason) else said


def _is_about_letters(reason: BaseException) -> bool:
    """Whether a function, an operator or a method of tensors met what is no tensor."""
    return isinstance(reason, (TypeError, AttributeError)) and bool(
        re.search(r"\b(Expression|Depth|Symbol|Add|Mul|convert expression)\b", str(reason))
    )


def _is_of_tensors(reason: BaseException) -> bool:
    """Whether the same would do with a tensor."""
    from torch import Tensor

    method = re.match(r"'\w+' object has no attribute '(\w+)'", str(reason))
    if method:
        return method[1] in dir(Tensor)
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


def _check_fields(kind: type[Stage]) -> None:
    name = kind.name
    if not isinstance(name, str) or not name.isidentifier() or iskeyword(name):
        raise wrong(kind, f"it needs a name such as 'smooth', got {shown(name)}")
    if "__dataclass_fields__" not in vars(kind):
        raise wrong(kind, "it needs @dataclass(frozen=True) above it")
    for field in fields(kind):
        domain = field.metadata.get("domain")
        if not callable(getattr(domain, "read", None)):
            raise wrong(
                kind,
                f"the hyper-parameter {field.name} has no domain: write "
                f"{field.name}: float = field({_default(field)}, Number()), both from edsl.stage",
                field.name,
            )
        if field.name in _TAKEN:
            raise wrong(kind, f"a hyper-parameter can't be called {field.name}; choose another name", field.name)
    loose = next((key for key, value in vars(kind).items() if isinstance(value, Field)), None)
    if loose is not None:
        raise wrong(kind, f"the hyper-parameter {loose} needs a type, as in {loose}: float = field(…)", loose)


def _default(field: Any) -> str:
    return shown(field.default) if isinstance(field.default, (int, float)) else "1.0"


def _built(kind: type[Stage]) -> Stage:
    """A stage as its name, or its example, writes it."""
    from edsl.language.spec import parse

    group = next((known for known in _WITHIN if issubclass(kind, known)), None)
    if group is None:
        raise wrong(kind, "it must be of a kind: Estimator, Adaptor, BaseUpdate or Wrapper")
    if group is Estimator and kind.evaluate is Estimator.evaluate:  # pyright: ignore[reportAttributeAccessIssue]
        raise wrong(kind, "an estimator needs evaluate(self, oracle)")
    if group is not Estimator and kind.step is Stage.step:
        raise wrong(kind, "it needs step(self, x, memory, at)")
    written = kind.example or kind.name
    try:
        pipeline = parse(_WITHIN[group].format(written), [kind])
    except EdslError as reason:
        said = getattr(reason, "message", str(reason)).splitlines()[0]
        hint = "" if kind.example else "; where its name alone is not enough, give an example: ClassVar[str]"
        raise wrong(kind, f"{written} can't be built: {said}{hint}") from None
    except Exception as reason:
        raise blamed(reason) or wrong(kind, _said(reason)) from None
    return next(stage for stage in pipeline.stages if type(stage) is kind)


def _check_step(kind: type[Stage], stage: Stage) -> None:
    try:
        memory = stage.init(0.0)
    except Exception as reason:
        raise blamed(reason) or wrong(kind, _said(reason), "init") from None
    if not isinstance(memory, tuple) or not isinstance(getattr(memory, "_fields", None), tuple):
        raise wrong(kind, f"init(zero) must return a NamedTuple of buffers, got {shown(memory)}", "init")
    bad = [shown(value) for value in memory if not isinstance(value, (int, float)) or value != 0]
    if bad:
        raise wrong(kind, f"init(zero) must fill every buffer with the zero that it is given, got {bad[0]}", "init")
    try:
        shapes = stage.buffer_shapes(2, 3)
    except Exception as reason:
        raise blamed(reason) or wrong(kind, _said(reason), "buffer_shapes") from None
    known = isinstance(shapes, dict) and all(name in memory._fields for name in shapes)
    if not known or not all(isinstance(shape, tuple) for shape in shapes.values()):
        got = shown(shapes)
        raise wrong(kind, f"buffer_shapes must return shapes of buffers by their names, got {got}", "buffer_shapes")
    if isinstance(stage, Estimator):
        return
    remembers: Any = type(memory)
    try:
        made: Any = stage.step(Depth(0), remembers(*(Depth(0) for _ in memory)), ReadingAt())
    except Exception as reason:  # somebody else's code may raise anything
        if _is_about_letters(reason) and _is_of_tensors(reason):  # it can train; who reads it on paper will say so
            return
        raise blamed(reason) or wrong(kind, _said(reason), "step") from None
    if type(made) is not tuple or len(made) != 2:
        got = _kind(made)
        raise wrong(kind, f"step must return two things, what flows out and the next memory, got {got}", "step")
    flowing, after = made
    if not isinstance(flowing, (Depth, int, float)):
        raise wrong(kind, f"what flows out of step must be a value like x, got {_kind(flowing)}", "step")
    if type(after) is not type(memory):
        wanted, got = type(memory).__name__, _kind(after)
        raise wrong(kind, f"step must return the memory that init makes, {wanted}, got {got}", "step")


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, Depth):
        return "one value"
    return f"a {type(value).__name__} of {len(value)}" if isinstance(value, tuple) else f"a {type(value).__name__}"


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
