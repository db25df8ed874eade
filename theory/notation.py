"""The recurrences of a pipeline, written by running its stages on letters.

Each stage's own `step` is run on expressions that remember how they were made, so what is printed
is what is computed, for exactly these switches and with zero terms gone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from edsl.errors import EdslError
from edsl.pipeline import Pipeline
from edsl.stage import At, BaseUpdate, Estimator, Stage, Wrapper

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
SUM, QUOTIENT, PRODUCT, POWER, ATOM = 1, 2, 3, 4, 5  # how tightly an expression binds
_LETTERS = {  # memory fields whose letter isn't their name
    "mean": "ḡ",
    "average": "θ̄",
    "slow": "φ",
    "left": "L",
    "right": "R",
    "left_root": "L̃",
    "right_root": "R̃",
    "left_basis": "Q",
    "right_basis": "P",
}


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

    def __abs__(self) -> Any:
        return Expression("abs", self)


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
        self.hessian = letter("Dₖ")
        self.looks = letter("j")
        self.rows = letter("rows")
        self.columns = letter("columns")
        self.looks_each_step = True
        self.lines: list[str] = []
        self.named: dict[str, str] = {}  # the name of what a line has defined, by its text

    @property
    def normal(self) -> Expression:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.lines.append("ξₖ ~ N(0, 1) for every element")
        return letter("ξₖ")

    def fresh(self, x: Any, otherwise: Any) -> Any:
        return x if self.looks_each_step else Expression("fresh", x, otherwise)

    def finite(self, x: Any) -> Any:
        return Expression("finite", x)

    def function(self, name: str, *arguments: Any) -> Any:
        if name in ("blocks", "whole"):
            return arguments[0]  # how a matrix is cut is no part of the recurrence
        return Expression(name, *arguments)

    def sqrt(self, x: Any) -> Expression:
        return Expression("√", x)

    def norm(self, x: Any) -> Expression:
        return Expression("‖", x)

    def debias(self, x: Any, beta: Any, count: Any = None) -> Expression:
        return x if _is(beta, 0) else Expression("debias", x, beta, self.k if count is None else count)

    def first(self, x: Any, otherwise: Any) -> Expression:
        return Expression("first", x, otherwise)

    def ratio(self, x: Any, y: Any, where: Any = None) -> Expression:
        return Expression("/", x, y)

    def define(self, name: str, value: Any) -> None:
        """A line `name = value`; from here on the value prints as its name."""
        text = self.text(value)
        if text != name:
            self.lines.append(f"{name} = {text}")
        if isinstance(value, Expression) and value.name is None:
            value.name = name
            self.named[text] = name

    def text(self, value: Any) -> str:
        return self._write(value)[0]

    def _write(self, value: Any) -> tuple[str, int]:
        """An expression's text, and how tightly it binds."""
        if not isinstance(value, Expression):
            return _number(value), ATOM
        if value.name is not None:
            return value.name, ATOM
        text, binds = self._compose(value.operation, value.parts)
        return (self.named[text], ATOM) if text in self.named else (text, binds)

    def _compose(self, operation: str, parts: tuple[Any, ...]) -> tuple[str, int]:
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
        if operation == "product":
            return f"{self._in(parts[0], PRODUCT)} {self._in(parts[1], PRODUCT)}", PRODUCT
        if operation == "transpose":
            return f"{self._in(parts[0], ATOM)}ᵀ", ATOM
        return self._function(operation, parts), ATOM

    def _function(self, operation: str, parts: tuple[Any, ...]) -> str:
        if operation == "√":
            return f"√{self._in(parts[0], ATOM)}"
        if operation == "‖":
            if parts[0].name is None:  # a norm is of something worth a line of its own
                self.define(self._unused("r"), parts[0])
            return f"‖{self.text(parts[0])}‖"
        if operation == "debias":
            return self._debiased(*parts)
        if operation == "first":
            return f"[{self.text(parts[0])} if k = 1 else {self.text(parts[1])}]"
        if operation == "every":
            return f"[{self.text(parts[1])} if {parts[0]} divides k else {self.text(parts[2])}]"
        if operation == "finite":
            return f"[{self.text(parts[0])} if finite else 0]"
        if operation == "fresh":
            return f"[{self.text(parts[0])} if Dₖ is new else {self.text(parts[1])}]"
        if operation == "clamp":
            bound = self.text(parts[1])
            return f"clamp({self.text(parts[0])}, −{bound}, {bound})"
        if operation == "abs":
            return f"|{self.text(parts[0])}|"
        if operation == "positive":
            return f"[{self.text(parts[0])} > 0]"
        if operation == "orthogonal":
            return f"NS{str(parts[1]).translate(_SUBSCRIPTS)}({self.text(parts[0])})"
        if operation == "inverse_power":
            x, exponent, eps = self.text(parts[0]), self._in(parts[1], ATOM), self._in(parts[2], POWER)
            return f"({x} + {eps} λ₁({x}) I)^(−{exponent})"
        if operation == "eigenbasis":
            return f"eigenvectors({self.text(parts[0])})"
        if operation == "refined":
            return f"qr({self.text(parts[1])} {self._in(parts[0], PRODUCT)})"
        return f"{operation}({', '.join(self.text(part) for part in parts)})"

    def _unused(self, symbol: str) -> str:
        taken = {line.split(" = ")[0] for line in self.lines}
        return next(name for n in range(9) if (name := f"{symbol}{'′' * n}ₖ") not in taken)

    def _debiased(self, x: Any, beta: Any, count: Any) -> str:
        base = f"1 − {self._in(beta, ATOM)}{'ᵏ' if count is self.k else f'^({self.text(count)})'}"
        text = self.text(x)
        if "ₖ" not in text or " " in text:  # nothing that could wear a hat
            return f"({text}) / ({base})"
        hat = text.replace("ₖ", "\u0302ₖ", 1)
        line = f"{hat} = {self._in(x, PRODUCT)} / ({base})"
        if line not in self.lines:
            self.lines.append(line)
        return hat

    def _in(self, value: Any, least: int) -> str:
        text, binds = self._write(value)
        return text if binds >= least else f"({text})"


@dataclass(frozen=True)
class Recurrence:
    """One stage on paper: its label, its lines, and the letters of its hyper-parameters."""

    label: str
    stage: Stage
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
    if "" in pipeline.branches:
        return _written(pipeline)
    written: list[Recurrence] = []
    for route, branch in pipeline.branches.items():
        for index, part in enumerate(_written(branch)):
            if index >= pipeline.update_index:
                written.append(Recurrence(f"{route}: {part.label}", part.stage, part.lines, part.letters))
            elif len(written) == index:  # the stages before the routes, once
                written.append(part)
    return written


def _written(pipeline: Pipeline) -> list[Recurrence]:
    written: list[Recurrence] = []
    flow = letter("gₖ")
    lr: Any = letter("η")
    primes = 0
    for stage, label in zip(pipeline.stages, pipeline.labels):
        at = Writer()
        at.lr = lr
        at.looks_each_step = pipeline.estimator.looks(2) > pipeline.estimator.looks(1)
        last = stage is pipeline.stages[-1]
        if isinstance(stage, Estimator):
            at.lines.extend(stage.equations)
        else:
            at.total_norm = letter(f"‖all {flow.name}‖")
            try:
                refreshed = _refreshed(stage, flow, at)
                out, memory = _run(stage, flow, at, {field for field, _, _ in refreshed})
            except EdslError as reason:
                written.append(Recurrence(label, stage, (str(reason),), ()))
                continue
            _define_memory(at, memory, refreshed)
            primes = 0 if isinstance(stage, BaseUpdate) else primes
            if last:
                text = at.text(out)
                at.lines.append(f"θₖ = θₖ₋₁ − {text[1:]}" if text.startswith("−") else f"θₖ = θₖ₋₁ + {text}")
            elif out is not flow:
                name = f"{'Δ' if isinstance(stage, (BaseUpdate, Wrapper)) else 'u'}{'′' * primes}ₖ"
                at.define(name, out)
                flow = letter(name)
                primes += 1
            if isinstance(stage, BaseUpdate):
                lr = 0 if getattr(stage, "lr", 1) == 0 else lr
        written.append(Recurrence(label, stage, tuple(at.lines), tuple(_letters(stage).items())))
    return written


def _run(stage: Stage, flow: Expression, at: Writer, fresh: set[str]) -> tuple[Any, list[tuple[str, Any]]]:
    """A step on letters: what flows out, and each new memory entry with its name."""
    kind: Any = type(stage.init(0.0))
    old = kind(*[letter(_name(field, "ₖ" if field in fresh else "ₖ₋₁")) for field in kind._fields])
    out, new = _bound(stage).step(flow, old, at)
    return out, [(_name(field, "ₖ"), entry) for field, entry in zip(kind._fields, new)]


def _refreshed(stage: Stage, flow: Expression, at: Writer) -> list[tuple[str, Any, str]]:
    """What a stage computes only every few steps: (field, entry, when)."""
    if stage.refresh_every == 0:
        return []
    bound, period = _bound(stage), stage.refresh_every
    later = f"every {period} steps" if period > 1 else "each step"
    calls = [("at step 1", bound.begin), (later, bound.refresh)]
    if type(stage).begin is Stage.begin:
        calls = [(f"at step 1 and {later}" if period > 1 else later, bound.refresh)]
    kind: Any = type(stage.init(0.0))
    old = kind(*[letter(_name(field, "ₖ₋₁")) for field in kind._fields])
    return [
        (field, entry, when)
        for when, call in calls
        for field, before, entry in zip(kind._fields, old, call(flow, old, at))
        if entry is not before
    ]


def _bound(stage: Stage) -> Any:
    """The stage with letters for its live values, and zeros where they are zero."""
    live = stage.live_fields()
    values = {name: letter(text) for name, text in _letters(stage).items() if name in live}
    return stage.bind({**values, **{name: 0 for name in live if getattr(stage, name) == 0}})


def _name(field: str, index: str) -> str:
    return f"{_LETTERS.get(field, field)}{index}"


def _define_memory(at: Writer, names: list[tuple[str, Any]], refreshed: list[tuple[str, Any, str]]) -> None:
    inner = at.lines
    at.lines = []
    for name, entry in names:
        at.define(name, entry)
    for field, entry, when in refreshed:
        text = at.text(entry)
        at.lines.append(f"{_name(field, 'ₖ')} = {text}   ({when})")
    at.lines.extend(inner)


def _letters(stage: Stage) -> dict[str, str]:
    return {
        field.name: field.metadata["letter"] or field.name
        for field in fields(stage)
        if field.name in stage.live_fields()
    }


def _number(value: Any) -> str:
    return f"{value:g}".replace("-", "−") if isinstance(value, (int, float)) else str(value)
