"""What a step on letters computes, as text: each new quantity gets a line of its own."""

from __future__ import annotations

import re
from typing import Any

from edsl.language.context import Draws, NamedAt
from edsl.language.domain import plain
from edsl.theory.text.alphabet import Alphabet
from edsl.theory.text.formula import ATOM, POWER, PRODUCT, QUOTIENT, SUM, Formula, is_number, letter

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_INDEX = re.compile("(⁽[⁰¹²³⁴⁵⁶⁷⁸⁹]+⁾)?ₖ")
_CONDITIONS = {
    **{sign: f"{{0}} {sign} {{1}}" for sign in "<>≤≥"},
    "equal": "{0} = {1}",
    "either": "{0} or {1}",
    "isfinite": "{0} is finite",
}


_OF_FACTORS = {
    "factored": "{0} {1} {2}ᵀ",
    "solved": "{0}⁻ᵀ {1} {2}⁻¹",
    "preconditioned": "{0}ᵀ {0} {1} {2}ᵀ {2}",
}


class Writer(NamedAt):
    """Where a step happens, on paper: each new quantity gets a line of its own."""

    def __init__(self, alphabet: Alphabet) -> None:
        self.alphabet = alphabet
        self.theta = letter("θₖ₋₁")
        self.k = letter("k")
        self.gradient = letter("gₖ")
        self.total_norm = letter("‖all g‖")
        self.hessian = letter("Dₖ")
        self.looks = letter("j")
        self.rows = letter("rows")
        self.columns = letter("columns")
        self.looks_each_step = True
        self.normals = self.probes = Draws(self._noise)
        self._noises: dict[int, Formula] = {}
        self.lines: list[str] = []
        self.locals: list[tuple[str, Any]] = []  # what a rule calls the values on its way
        self.named: dict[str, str] = {}  # the name of what a line has defined, by its text

    def _noise(self, number: int) -> Formula:
        if number not in self._noises:
            self._noises[number] = made = letter(f"{self.alphabet.claim('ξ')}ₖ")
            self.lines.append(f"{made.name} ~ N(0, 1) for every element")
        return self._noises[number]

    def fresh(self, x: Any, otherwise: Any) -> Any:
        return x if self.looks_each_step else Formula("fresh", x, otherwise)

    def function(self, name: str, *arguments: Any) -> Any:
        if name in ("blocks", "whole", "balanced"):
            return arguments[0]  # how a matrix is cut, and of which size a factor is, are no part of the recurrence
        if name == "started":
            self._begin_with_identity(arguments[0])
            return arguments[0]
        return Formula(name, *arguments)

    def debias(self, x: Any, beta: Any, count: Any = None) -> Formula:
        return x if is_number(beta, 0) else Formula("debias", x, beta, self.k if count is None else count)

    def ratio(self, x: Any, y: Any, where: Any = None) -> Formula:
        return Formula("/", x, y)

    def note(self, name: str, value: Any) -> Any:
        """What a rule calls a value, which gets a line of that name."""
        self.locals.append((name, value))
        return value

    def define(self, name: str, value: Any) -> None:
        """A line `name = value`; from here on the value prints as its name."""
        text = self.text(value)
        if text != name:
            self.lines.append(f"{name} = {text}")
        if isinstance(value, Formula) and value.name is None:
            value.name = name
            self.named[text] = name

    def text(self, value: Any) -> str:
        return self._write(value)[0]

    def _write(self, value: Any) -> tuple[str, int]:
        """An expression's text, and how tightly it binds."""
        if not isinstance(value, Formula):
            text = _number(value)
            return text, PRODUCT if text.startswith("−") else ATOM
        if value.name is not None:
            return value.name, POWER if "⁽" in value.name else ATOM
        text, binds = self._compose(value.operation, value.parts)
        return (self.named[text], ATOM) if text in self.named else (text, binds)

    def _compose(self, operation: str, parts: tuple[Any, ...]) -> tuple[str, int]:
        if operation in ("+", "−"):
            left, right = self._in(parts[0], SUM), self._in(parts[1], SUM if operation == "+" else QUOTIENT)
            if right.startswith("−"):
                operation, right = {"+": "−", "−": "+"}[operation], right[1:]
            return f"{left} {operation} {right}", SUM
        if operation == "·":
            if parts[0] is parts[1]:
                return f"{self._in(parts[0], ATOM)}²", POWER
            return self._juxtaposed(*parts), PRODUCT
        if operation == "/":
            return f"{self._in(parts[0], PRODUCT)} / {self._in(parts[1], POWER)}", QUOTIENT
        if operation == "^":
            exponent = self.text(parts[1])
            return f"{self._in(parts[0], ATOM)}{'ᵏ' if exponent == 'k' else f'^({exponent})'}", POWER
        if operation == "neg":
            text = self._in(parts[0], PRODUCT)
            return text[1:] if text.startswith("−") else f"−{text}", PRODUCT
        if operation == "product":
            return self._juxtaposed(*parts), PRODUCT
        if operation in ("<", ">", "≤", "≥"):
            return f"{self.text(parts[0])} {operation} {self.text(parts[1])}", SUM
        if operation == "transpose":
            return f"{self._in(parts[0], ATOM)}ᵀ", ATOM
        if operation in _OF_FACTORS:
            return _OF_FACTORS[operation].format(*(self._in(part, PRODUCT) for part in parts)), PRODUCT
        if operation == "fitted":
            return self._fitted(*parts), SUM
        return self._function(operation, parts), ATOM

    def _juxtaposed(self, left: Any, right: Any) -> str:
        """A product: side by side, with a dot before a number."""
        first, second = self._in(left, PRODUCT), self._in(right, PRODUCT)
        if second.startswith("−"):
            second = f"({second})"
        return f"{first} · {second}" if second[0].isdigit() else f"{first} {second}"

    def _function(self, operation: str, parts: tuple[Any, ...]) -> str:
        if operation == "sqrt":
            return f"√{self._in(parts[0], ATOM)}"
        if operation == "norm":
            if parts[0].name is None:  # a norm is of something worth a line of its own
                self.define(f"{self.alphabet.claim('r')}ₖ", parts[0])
            return f"‖{self.text(parts[0])}‖"
        if operation == "debias":
            return self._debiased(*parts)
        if operation == "first":
            return f"[{self.text(parts[0])} if k = 1 else {self.text(parts[1])}]"
        if operation == "where":
            return f"[{self.text(parts[1])} if {self.text(parts[0])} else {self.text(parts[2])}]"
        if operation in _CONDITIONS:
            return _CONDITIONS[operation].format(*map(self.text, parts))
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
        if operation == "where":
            return f"[{self.text(parts[1])} if {self.text(parts[0])} else {self.text(parts[2])}]"
        if operation in ("row_mean", "column_mean"):
            return f"{operation.removesuffix('_mean')} mean({self.text(parts[0])})"
        if operation == "positive":
            return f"[{self.text(parts[0])} > 0]"
        if operation == "orthogonal":
            return f"NS{str(parts[1]).translate(_SUBSCRIPTS)}({self.text(parts[0])})"
        if operation == "inverse_power":
            x, exponent, eps = self.text(parts[0]), self._in(parts[1], ATOM), self._in(parts[2], POWER)
            return f"({x} + {eps} λ₁({x}) I)^(−{exponent})"
        if operation == "eigenbasis":
            return " leading ".join([*map(str, parts[1:]), f"eigenvectors({self.text(parts[0])})"])
        if operation == "refined":
            return f"qr({self.text(parts[1])} {self._in(parts[0], PRODUCT)})"
        return f"{operation}({', '.join(self.text(part) for part in parts)})"

    def _begin_with_identity(self, factor: Formula) -> None:
        line = f"{self.text(factor).replace('ₖ₋₁', '₀')} = I"
        if line not in self.lines:
            self.lines.append(line)

    def _fitted(self, factor: Any, a: Any, b: Any, rate: Any, side: str) -> str:
        """A step of a factor; what it is fitted on is worth lines of their own."""
        for name, value in (("A", a), ("B", b)):
            if value.name is None:
                self.define(f"{self.alphabet.claim(name)}ₖ", value)
        of = "{0} {0}ᵀ" if side == "left" else "{0}ᵀ {0}"
        first, second, q = of.format(self.text(a)), of.format(self.text(b)), self._in(factor, PRODUCT)
        return f"{q} − {self._in(rate, PRODUCT)} triu({first} − {second}) {q} / ‖{first} + {second}‖"

    def _debiased(self, x: Any, beta: Any, count: Any) -> str:
        base = f"1 − {self._in(beta, ATOM)}{'ᵏ' if count is self.k else f'^({self.text(count)})'}"
        text = self.text(x)
        if "ₖ" not in text or " " in text:  # nothing that could wear a hat
            return f"({text}) / ({base})"
        hat = _INDEX.sub("\u0302\\g<0>", text, count=1)
        line = f"{hat} = {self._in(x, PRODUCT)} / ({base})"
        if line not in self.lines:
            self.lines.append(line)
        return hat

    def _in(self, value: Any, least: int) -> str:
        text, binds = self._write(value)
        return text if binds >= least else f"({text})"


def _number(value: Any) -> str:
    """A number as one writes it: six digits would be too few for 1234567, seventeen too many for 0.1 + 0.2."""
    if not isinstance(value, (int, float)):
        return str(value)
    return plain(float(f"{value:.12g}") + 0.0).replace("-", "−")
