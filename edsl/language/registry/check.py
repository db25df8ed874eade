"""Whether a class that somebody else wrote is a stage.

A class is checked once, when a plugin brings it or when the first pipeline uses it: its fields, its memory, and
its step, run on values without numbers. An error is one line, with file and line number.
"""

from __future__ import annotations

from dataclasses import Field, fields
from keyword import iskeyword
from typing import Any
from weakref import WeakSet

from edsl.errors import EdslError, brief, either, shown
from edsl.language.hyperparameters import GROUP_KEYS
from edsl.language.reductions import AnalysisContext, ReductionDepth
from edsl.language.registry.blame import blamed, explained, is_about_letters, is_authored, is_of_tensors, wrong
from edsl.language.stage import Adaptor, BaseUpdate, Estimator, Stage, Wrapper
from edsl.numerics.structures import OF_MATRICES

_WITHIN = {Estimator: "{} | sgd", Adaptor: "grad | {} | sgd", BaseUpdate: "{}", Wrapper: "sgd | {}"}
_checked: WeakSet[type[Stage]] = WeakSet()


def check_stage(kind: type[Stage]) -> None:
    """Raises EdslError, with file and line, for a class that can't be a stage; each class is checked once."""
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


def _check_fields(kind: type[Stage]) -> None:
    name = kind.name
    if not isinstance(name, str) or not name.isidentifier() or iskeyword(name):
        raise wrong(kind, f"it needs a name such as 'smooth', got {shown(name)}")
    if "__dataclass_fields__" not in vars(kind):
        raise wrong(kind, "it needs @dataclass(frozen=True) above it")
    base = next((known for known in _WITHIN if issubclass(kind, known)), Stage)
    for field in fields(kind):
        domain = field.metadata.get("domain")
        if not callable(getattr(domain, "read", None)):
            raise wrong(
                kind,
                f"the hyper-parameter {field.name} has no domain: write "
                f"{field.name}: float = field({_default(field)}, Number()), both from edsl.stage",
                field.name,
            )
        if field.name in GROUP_KEYS or hasattr(base, field.name):
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
        said = brief(reason)
        hint = "" if kind.example else "; where its name alone is not enough, give an example: ClassVar[str]"
        raise wrong(kind, f"{written} can't be built: {said}{hint}") from None
    except Exception as reason:
        raise blamed(reason) or wrong(kind, explained(reason)) from None
    return next(stage for stage in pipeline.stages if type(stage) is kind)


def _check_step(kind: type[Stage], stage: Stage) -> None:
    try:
        memory = stage.init(0.0)
    except Exception as reason:
        raise blamed(reason) or wrong(kind, explained(reason), "init") from None
    if not isinstance(memory, tuple) or not isinstance(getattr(memory, "_fields", None), tuple):
        raise wrong(kind, f"init(zero) must return a NamedTuple of buffers, got {shown(memory)}", "init")
    bad = [shown(value) for value in memory if not isinstance(value, (int, float)) or value != 0]
    if bad:
        raise wrong(kind, f"init(zero) must fill every buffer with the zero that it is given, got {bad[0]}", "init")
    try:
        shapes, least = stage.buffer_shapes(2, 3), stage.buffer_shapes(1, 1)
    except Exception as reason:
        raise blamed(reason) or wrong(kind, explained(reason), "buffer_shapes") from None
    known = isinstance(shapes, dict) and all(name in memory._fields for name in shapes)
    if not known or not all(isinstance(shape, tuple) for shape in shapes.values()):
        got = shown(shapes)
        raise wrong(kind, f"buffer_shapes must return shapes of buffers by their names, got {got}", "buffer_shapes")
    if shapes and not stage.is_matrix:
        said = "buffer_shapes is for stages that take a parameter as a matrix: set is_matrix: ClassVar[bool] = True"
        raise wrong(kind, said, "buffer_shapes")
    if shapes.keys() != least.keys():
        raise wrong(
            kind, "buffer_shapes must name the same buffers whatever the size of the parameter", "buffer_shapes"
        )
    own = stage.structures()
    if not isinstance(own, dict) or any(name not in shapes or said not in OF_MATRICES for name, said in own.items()):
        said = f"structures must say {either(OF_MATRICES)} of buffers in buffer_shapes, got {shown(own)}"
        raise wrong(kind, said, "structures")
    scalars = stage.scalars()
    if not isinstance(scalars, tuple) or not all(name in memory._fields and name not in shapes for name in scalars):
        said = f"scalars must return a tuple of the names of buffers that are one number, got {shown(scalars)}"
        raise wrong(kind, said, "scalars")
    if isinstance(stage, Estimator):
        return
    remembers: Any = type(memory)
    try:
        made: Any = stage.step(ReductionDepth(0), remembers(*(ReductionDepth(0) for _ in memory)), AnalysisContext())
    except Exception as reason:  # somebody else's code may raise anything
        if is_about_letters(reason) and is_of_tensors(reason):  # it can train; who reads it on paper will say so
            return
        raise blamed(reason) or wrong(kind, explained(reason), "step") from None
    if type(made) is not tuple or len(made) != 2:
        got = _kind(made)
        raise wrong(kind, f"step must return two things, what flows out and the next memory, got {got}", "step")
    flowing, after = made
    if not isinstance(flowing, (ReductionDepth, int, float)):
        raise wrong(kind, f"what flows out of step must be a value like x, got {_kind(flowing)}", "step")
    if type(after) is not type(memory):
        wanted, got = type(memory).__name__, _kind(after)
        raise wrong(kind, f"step must return the memory that init makes, {wanted}, got {got}", "step")


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, ReductionDepth):
        return "one value"
    return f"a {type(value).__name__} of {len(value)}" if isinstance(value, tuple) else f"a {type(value).__name__}"


Stage._check = check_stage
