"""The recurrences of a pipeline, written by running its stages on letters.

Each stage's own `step` is run on expressions that remember how they were made, so what is printed
is what is computed, for exactly these switches and with zero terms gone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from edsl.errors import EdslError
from edsl.pipeline import Pipeline
from edsl.stage import At, BaseUpdate, Estimator, Stage

SUM, QUOTIENT, PRODUCT, POWER, ATOM = 1, 2, 3, 4, 5  # how tightly an expression binds
_LETTERS = {"mean": "ḡ"}  # memory fields whose letter isn't their name


class Expression:
    """A number-like value that remembers how it was made; `name` once it has one."""

    def __init__(self, operation: str, *parts: Any) -> None:
        self.operation = operation
        self.parts = parts
        self.name: str | None = None

    def __add__(self, other: Any) -> Any:
        return self if _is(other, 0) else Expression("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return self if _is(other, 0) else Expression("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return self if _is(other, 0) else Expression("−", self, other)

    def __rsub__(self, other: Any) -> Any:
        return Expression("−", other, self)

    def __mul__(self, other: Any) -> Any:
        return _product(self, other)

    def __rmul__(self, other: Any) -> Any:
        return _product(other, self)

    def __truediv__(self, other: Any) -> Any:
        return self if _is(other, 1) else Expression("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return Expression("/", other, self)

    def __pow__(self, other: Any) -> Any:
        return 1 if _is(other, 0) else Expression("^", self, other)

    def __rpow__(self, other: Any) -> Any:
        return Expression("^", other, self)

    def __neg__(self) -> Any:
        return Expression("neg", self)


def letter(text: str) -> Expression:
    """A symbol, printed as it is."""
    symbol = Expression("letter")
    symbol.name = text
    return symbol


def _is(value: Any, number: int) -> bool:
    return not isinstance(value, Expression) and value == number


def _product(left: Any, right: Any) -> Any:
    if _is(left, 0) or _is(right, 0):
        return 0
    if _is(left, 1):
        return right
    return left if _is(right, 1) else Expression("·", left, right)


class Writer(At):
    """Where a step happens, on paper: each new quantity gets a line of its own."""

    def __init__(self) -> None:
        self.theta = letter("θₖ₋₁")
        self.k = letter("k")
        self.gradient = letter("gₖ")
        self.total_norm = letter("‖all g‖")
        self.lines: list[str] = []

    @property
    def normal(self) -> Expression:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.lines.append("ξₖ ~ N(0, 1) for every element")
        return letter("ξₖ")

    def sqrt(self, x: Any) -> Expression:
        return Expression("√", x)

    def norm(self, x: Any) -> Expression:
        return Expression("‖", x)

    def debias(self, x: Any, beta: Any) -> Expression:
        return x if _is(beta, 0) else Expression("debias", x, beta)

    def first(self, x: Any, otherwise: Any) -> Expression:
        return Expression("first", x, otherwise)

    def clamp(self, x: Any, bound: Any) -> Expression:
        return Expression("clamp", x, bound)

    def minimum(self, x: Any, y: Any) -> Expression:
        return Expression("min", x, y)

    def ratio(self, x: Any, y: Any) -> Expression:
        return Expression("/", x, y)

    def define(self, name: str, value: Any) -> None:
        """A line `name = value`; from here on the value prints as its name."""
        text = self.text(value)
        if text != name:
            self.lines.append(f"{name} = {text}")
        if isinstance(value, Expression) and value.name is None:
            value.name = name

    def text(self, value: Any) -> str:
        return self._write(value)[0]

    def _write(self, value: Any) -> tuple[str, int]:
        """An expression's text, and how tightly it binds."""
        if not isinstance(value, Expression):
            return _number(value), ATOM
        if value.name is not None:
            return value.name, ATOM
        operation, parts = value.operation, value.parts
        if operation == "+":
            return f"{self._in(parts[0], SUM)} + {self._in(parts[1], SUM)}", SUM
        if operation == "−":
            return f"{self._in(parts[0], SUM)} − {self._in(parts[1], QUOTIENT)}", SUM
        if operation == "·":
            if parts[0] is parts[1]:
                return f"{self._in(parts[0], ATOM)}²", POWER
            return f"{self._in(parts[0], PRODUCT)} {self._in(parts[1], PRODUCT)}", PRODUCT
        if operation == "/":
            return f"{self._in(parts[0], PRODUCT)} / {self._in(parts[1], POWER)}", QUOTIENT
        if operation == "^":
            exponent = self.text(parts[1])
            return f"{self._in(parts[0], ATOM)}{'ᵏ' if exponent == 'k' else f'^({exponent})'}", POWER
        if operation == "neg":
            return f"−{self._in(parts[0], PRODUCT)}", PRODUCT
        return self._function(operation, parts), ATOM

    def _function(self, operation: str, parts: tuple[Any, ...]) -> str:
        if operation == "√":
            return f"√{self._in(parts[0], ATOM)}"
        if operation == "‖":
            if parts[0].name is None:  # a norm is of something worth a line of its own
                self.define("rₖ", parts[0])
            return f"‖{self.text(parts[0])}‖"
        if operation == "debias":
            hat = self.text(parts[0]).replace("ₖ", "\u0302ₖ", 1)
            line = f"{hat} = {self._in(parts[0], PRODUCT)} / (1 − {self._in(parts[1], ATOM)}ᵏ)"
            if line not in self.lines:
                self.lines.append(line)
            return hat
        if operation == "first":
            return f"[{self.text(parts[0])} if k = 1 else {self.text(parts[1])}]"
        if operation == "clamp":
            bound = self.text(parts[1])
            return f"clamp({self.text(parts[0])}, −{bound}, {bound})"
        return f"{operation}({self.text(parts[0])}, {self.text(parts[1])})"

    def _in(self, value: Any, least: int) -> str:
        text, binds = self._write(value)
        return text if binds >= least else f"({text})"


@dataclass(frozen=True)
class Recurrence:
    """One stage on paper: its label, its lines, and the letters of its hyper-parameters."""

    label: str
    lines: tuple[str, ...]
    letters: tuple[tuple[str, str], ...]  # (field, letter)


def recurrences(pipeline: Pipeline) -> list[Recurrence]:
    """What each stage computes at step k, as text.

    Raises:
        EdslError: for another package's optimizer, whose recurrence can't be read.

    Example:
        >>> import edsl
        >>> from edsl.theory.notation import recurrences
        >>> for part in recurrences(edsl.parse("grad | e | sgd(lr=0.1)")):
        ...     print(*part.lines, sep="; ")
        gₖ = ∇f(θₖ₋₁)
        ḡₖ = β₁ ḡₖ₋₁ + (1 − β₁) gₖ; uₖ = gₖ + α (1 − β₁) (gₖ − ḡₖ₋₁)
        θₖ = θₖ₋₁ − η uₖ
    """
    written: list[Recurrence] = []
    flow = letter("gₖ")
    adaptors = 0
    for stage, label in zip(pipeline.stages, pipeline.labels):
        at = Writer()
        if isinstance(stage, Estimator):
            at.lines.append("gₖ = ∇f(θₖ₋₁)")
        elif isinstance(stage, BaseUpdate):
            try:
                change, names = _run(stage, flow, at)
            except EdslError as reason:
                at.lines.append(str(reason))
                written.append(Recurrence(label, tuple(at.lines), ()))
                continue
            _define_memory(at, names)
            text = at.text(change)
            at.lines.append(f"θₖ = θₖ₋₁ − {text[1:]}" if text.startswith("−") else f"θₖ = θₖ₋₁ + {text}")
        else:
            at.total_norm = letter(f"‖all {flow.name}‖")
            out, names = _run(stage, flow, at)
            _define_memory(at, names)
            flow_name = f"u{'′' * adaptors}ₖ"
            at.define(flow_name, out)
            flow = letter(flow_name)
            adaptors += 1
        written.append(Recurrence(label, tuple(at.lines), tuple(_letters(stage).items())))
    return written


def _run(stage: Stage, flow: Expression, at: Writer) -> tuple[Any, list[tuple[str, Any]]]:
    """A step on letters: what flows out, and each new memory entry with its name."""
    live = stage.live_fields()
    values = {name: letter(text) for name, text in _letters(stage).items() if name in live}
    zeros = {name: 0 for name in live if getattr(stage, name) == 0}
    memory: Any = type(stage.init(0.0))
    old = memory(*[letter(f"{_LETTERS.get(name, name)}ₖ₋₁") for name in memory._fields])
    out, new = stage.bind({**values, **zeros}).step(flow, old, at)
    return out, [(f"{_LETTERS.get(name, name)}ₖ", entry) for name, entry in zip(memory._fields, new)]


def _define_memory(at: Writer, names: list[tuple[str, Any]]) -> None:
    inner = at.lines
    at.lines = []
    for name, entry in names:
        at.define(name, entry)
    at.lines.extend(inner)


def _letters(stage: Stage) -> dict[str, str]:
    return {
        field.name: field.metadata["letter"] or field.name
        for field in fields(stage)
        if field.name in stage.live_fields()
    }


def _number(value: Any) -> str:
    return f"{value:g}".replace("-", "−") if isinstance(value, (int, float)) else str(value)
