"""A schedule as a formula in k, such as 1/sqrt(k), read by `ast` and never evaluated."""

from __future__ import annotations

import ast
import contextlib
import math
import operator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import sympy
from sympy.polys.polyerrors import BasePolynomialError

from edsl.errors import EdslError, SpecError

K = sympy.Symbol("k", positive=True)
LOOKED_AT = 10**5  # steps that are checked one by one
_MOST_IN_EXP = 700
_ROUNDING = 1e-9
_FUNCTIONS = {"sqrt": sympy.sqrt, "log": sympy.log, "exp": sympy.exp}
_OPERATORS: dict[Any, Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_MOST_CHARACTERS, _MOST_EXPONENT, _MOST_DIGITS, _MOST_SUSPECTS = 200, 100, 300, 3


@dataclass(frozen=True)
class Schedule:
    """A factor for every step k ≥ 1.

    Attributes:
        text: as it was written.
        formula: a sympy expression in k.
    """

    text: str
    formula: Any

    @cached_property
    def limit(self) -> Any:
        """The limit of √k times it: a number, or ±∞.

        Raises:
            EdslError: where none can be found.
        """
        found: Any = None
        with contextlib.suppress(Exception):  # sympy's limit fails in many ways
            found = sympy.limit(sympy.sqrt(K) * self.formula, K, sympy.oo)
        infinite = found in (sympy.oo, -sympy.oo)
        if found is None or not (infinite or (found.is_number and found.is_finite and found.is_real)):
            raise EdslError(f"can't analyse the schedule {self.text}: sympy finds no limit of √k times it")
        return found

    @cached_property
    def undefined(self) -> int | None:
        """The first step at which it is no real number; None where it always is."""
        import numpy as np

        values = self._values
        odd = ~(np.isfinite(values) & (np.abs(values.imag) <= _ROUNDING * np.abs(values)))
        return self._first(odd, lambda value: value is None or abs(value.imag) > _ROUNDING * abs(value))

    @cached_property
    def negative(self) -> int | None:
        """The first step at which it is below 0; None where it never is."""
        return self._first(self._values.real < 0, lambda value: value is not None and value.real < 0)

    @cached_property
    def zero(self) -> int | None:
        """The first step at which it is 0; None where it never is."""
        return self._first(self._values == 0, lambda value: value is not None and value == 0)

    def _first(self, suspects: Any, holds: Any) -> int | None:
        """The first step of which something holds, also where floats would overflow or fall to 0.

        Steps to 10⁵ are checked one by one, later ones where a numerator or denominator has a root.
        """
        places = (*(int(place) + 1 for place in suspects.nonzero()[0][:_MOST_SUSPECTS]), *self._late_roots)
        return next((k for k in places if holds(self._at(k))), None)

    def _at(self, k: int) -> Any:
        """The value at one step, in numbers without bounds; None where it divides by 0."""
        import mpmath

        with mpmath.workdps(40):
            try:
                value = mpmath.mpc(sympy.lambdify(K, self.formula, "mpmath")(mpmath.mpf(k)))
            except (ZeroDivisionError, ValueError, OverflowError):
                return None
        return value if mpmath.isfinite(value) else None

    @cached_property
    def _late_roots(self) -> list[int]:
        roots: set[Any] = set()
        for part in sympy.fraction(sympy.together(self.formula)):
            with contextlib.suppress(BasePolynomialError):
                roots |= sympy.Poly(part, K, domain="QQ").ground_roots().keys()
        return sorted(int(root) for root in roots if root.is_Integer and root > LOOKED_AT)

    @cached_property
    def _values(self) -> Any:
        import numpy as np

        k = np.arange(1, LOOKED_AT + 1, dtype=complex)
        with np.errstate(all="ignore"):
            values = sympy.lambdify(K, self.formula.xreplace(_floats(self.formula)), "numpy")(k)
        return np.broadcast_to(np.asarray(values, dtype=complex), k.shape)


def _floats(formula: Any) -> dict[Any, Any]:
    """Numbers too large for numpy's integers, as floats."""
    return {number: sympy.Float(number) for number in formula.atoms(sympy.Rational) if abs(number) > 2**31}


@lru_cache(maxsize=64)
def read_schedule(text: str) -> Schedule:
    """A formula of numbers, k, + − * / **, sqrt, log and exp.

    Raises:
        SpecError: with a caret under what can't be read.

    Example:
        >>> from edsl.theory.regret.schedule import read_schedule
        >>> read_schedule("1/sqrt(k)").formula
        1/sqrt(k)
    """
    source = text.strip()
    if not source or len(source) > _MOST_CHARACTERS:
        raise SpecError(f"a schedule is a formula in k of at most {_MOST_CHARACTERS} characters, as 1/sqrt(k)", text, 0)
    try:
        tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise SpecError("can't read this schedule; write a formula in k such as 1/sqrt(k)", text, 0) from None
    value = _read(tree, text)
    if value.has(sympy.zoo, sympy.nan, sympy.oo):
        raise SpecError("this schedule is not a finite number for every k", text, 0)
    return Schedule(source, value)


def _read(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        number = node.value
        if _is_long(number) if isinstance(number, int) else not math.isfinite(number):
            raise SpecError("this number is too large for a float", text, node.col_offset)
        return sympy.Rational(repr(number))
    if isinstance(node, ast.Name) and node.id == "k":
        return K
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _read(node.operand, text)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _read(node.left, text), _read(node.right, text)
        if isinstance(node.op, ast.Pow):
            _check_power(left, right, text, node)
        return _bounded(sympy.sympify(_OPERATORS[type(node.op)](left, right)), text, node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:  # noqa: SIM102
        if len(node.args) == 1 and not node.keywords:
            argument = _read(node.args[0], text)
            if node.func.id == "exp":
                _check_tower(argument, text, node)
            if node.func.id == "exp" and argument.is_number and not abs(argument) <= _MOST_IN_EXP:
                raise SpecError(f"exp of a number beyond ±{_MOST_IN_EXP}", text, node.col_offset)
            return _FUNCTIONS[node.func.id](argument)
    raise SpecError("a schedule is made of numbers, k, + - * / **, sqrt, log and exp", text, node.col_offset)


def _check_power(base: Any, exponent: Any, text: str, node: ast.BinOp) -> None:
    if exponent.is_number and not abs(exponent) <= _MOST_EXPONENT:
        raise SpecError(f"an exponent lies within ±{_MOST_EXPONENT}", text, node.right.col_offset)
    _check_tower(exponent, text, node.right)
    if exponent.has(K) and not base.is_positive and base != 0:
        said = "has no limit that can be taken: its base is not above 0 for certain and its exponent holds k"
        raise SpecError(f"can't analyse this schedule: a power {said}", text, node.col_offset)


def _check_tower(exponent: Any, text: str, node: ast.expr) -> None:
    if any(power.exp.has(K) for power in exponent.atoms(sympy.Pow)) or any(e.has(K) for e in exponent.atoms(sympy.exp)):
        raise SpecError("can't analyse this schedule: k stands in the exponent of an exponent", text, node.col_offset)


def _bounded(value: Any, text: str, node: ast.expr) -> Any:
    """A value whose numbers keep a size at which arithmetic ends."""
    if any(_is_long(number.p) or _is_long(number.q) for number in value.atoms(sympy.Rational)):
        raise SpecError(f"a number in this schedule has more than {_MOST_DIGITS} digits", text, node.col_offset)
    if any(power.exp.is_number and not abs(power.exp) <= _MOST_EXPONENT for power in value.atoms(sympy.Pow)):
        raise SpecError(f"an exponent lies within ±{_MOST_EXPONENT}", text, node.col_offset)
    return value


def _is_long(number: int) -> bool:
    return abs(number) >= 10**_MOST_DIGITS
