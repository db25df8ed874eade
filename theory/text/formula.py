"""Values that remember how they were made, and are written as a mathematician writes them."""

from __future__ import annotations

from typing import Any

SUM, QUOTIENT, PRODUCT, POWER, ATOM = 1, 2, 3, 4, 5  # how tightly an expression binds


class Formula:
    """A number-like value that remembers how it was made; `name` once it has one."""

    def __init__(self, operation: str, *parts: Any) -> None:
        self.operation = operation
        self.parts = parts
        self.name: str | None = None

    def __add__(self, other: Any) -> Any:
        return self if is_number(other, 0) else Formula("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return self if is_number(other, 0) else Formula("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return self if is_number(other, 0) else Formula("−", self, other)

    def __rsub__(self, other: Any) -> Any:
        return Formula("−", other, self)

    def __mul__(self, other: Any) -> Any:
        return _product(self, other)

    def __rmul__(self, other: Any) -> Any:
        return _product(other, self)

    def __truediv__(self, other: Any) -> Any:
        return self if is_number(other, 1) else Formula("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return Formula("/", other, self)

    def __pow__(self, other: Any) -> Any:
        return 1 if is_number(other, 0) else Formula("^", self, other)

    def __rpow__(self, other: Any) -> Any:
        return Formula("^", other, self)

    def __lt__(self, other: Any) -> Any:
        return Formula("<", self, other)

    def __gt__(self, other: Any) -> Any:
        return Formula(">", self, other)

    def __le__(self, other: Any) -> Any:
        return Formula("≤", self, other)

    def __ge__(self, other: Any) -> Any:
        return Formula("≥", self, other)

    def __neg__(self) -> Any:
        return self.parts[0] if self.operation == "neg" and self.name is None else Formula("neg", self)

    def __abs__(self) -> Any:
        return Formula("abs", self)


def letter(text: str) -> Formula:
    """A symbol, printed as it is."""
    symbol = Formula("letter")
    symbol.name = text
    return symbol


def is_number(value: Any, number: int) -> bool:
    """Whether a value is this number itself, and no formula."""
    return not isinstance(value, Formula) and value == number


def _product(left: Any, right: Any) -> Any:
    if is_number(left, 0) or is_number(right, 0):
        return 0
    if is_number(left, 1):
        return right
    if is_number(left, -1):
        return -right
    if not isinstance(left, Formula) and isinstance(right, Formula) and right.name is None and right.operation == "·":
        first, second = right.parts
        if not isinstance(first, Formula):  # numbers that meet are multiplied
            return Formula("·", left * first, second)
    return left if is_number(right, 1) else Formula("·", left, right)


def deserves_a_line(value: Formula) -> bool:
    """Whether it changes with the step, and is more than another name for what has a hat."""
    return value.operation != "debias" and _changes(value)


def _changes(value: Any) -> bool:
    if not isinstance(value, Formula):
        return False
    return "ₖ" in (value.name or "") or value.name == "k" or any(map(_changes, value.parts))
