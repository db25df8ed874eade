"""What a hyper-parameter may be.

A field of a stage is declared with the domain of its values, which reads a value or says why it
can't. A `Number` is *live*: the engine passes it to the compiled step as a tensor, so a schedule may
change it. The others choose the structure of the step and are fixed once an optimizer is built.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from edsl.errors import EdslError, either, shown
from edsl.language.schedules.layerwise import Layerwise, without_scales
from edsl.language.schedules.schedule import Scheduled, plain

_ABSENT: Any = object()


@dataclass(frozen=True)
class Number:
    """A finite real number between two bounds, each open or closed; None where it is optional."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    optional: bool = False
    live: ClassVar[bool] = True

    def read(self, value: Any) -> float | None:
        if value is None:
            if self.optional:
                return None
            raise ValueError("must be a number, got None")
        if isinstance(value, Scheduled):
            return self._scheduled(value)
        if isinstance(value, Layerwise):  # the numbers of its layers are read when these are known
            self.read(without_scales(value))
            return value
        number = (
            value if type(value) is float else _as_float(value)
        ) + 0.0  # which turns −0 into 0, that has one spelling
        if not math.isfinite(number):
            raise ValueError(f"must be a finite number, got {number}")
        low_ok = number > self.low if self.open_low else number >= self.low
        high_ok = number < self.high if self.open_high else number <= self.high
        if not (low_ok and high_ok):
            raise ValueError(f"must lie in {self}, got {plain(number)}")
        return number

    def _scheduled(self, value: Scheduled) -> Scheduled:
        """A scheduled number, each of whose knots this domain holds."""
        for knot in value.schedule.extremes:
            try:
                self.read(knot)
            except ValueError as reason:
                raise ValueError(f"{reason} on its way along {value}") from None
        return value

    def __str__(self) -> str:
        left = "(" if self.open_low or self.low == -math.inf else "["
        right = ")" if self.open_high or self.high == math.inf else "]"
        return f"{left}{_bound(self.low)}, {_bound(self.high)}{right}"


def _as_float(value: Any) -> float:
    """A number of any kind as a float; raises ValueError for what is none, texts and truth values among them."""
    boolean = str(getattr(value, "dtype", "")).endswith("bool")
    if boolean or isinstance(value, (bool, str, bytes, bytearray, memoryview)):
        raise ValueError(f"must be a number, got {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("must be a finite number, got one too large for a float") from None
    except Exception:  # a value of the user's own type may raise anything
        raise ValueError(f"must be a number, got {shown(value)}") from None


DECAY = Number(0, 1, open_high=True)  # β of an EMA


@dataclass(frozen=True)
class Switch:
    """True or False."""

    live: ClassVar[bool] = False

    def read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError(f"must be True or False, got {shown(value)}")
        return value

    def __str__(self) -> str:
        return "True or False"


@dataclass(frozen=True)
class Choice:
    """One of a few given values."""

    options: tuple[Any, ...]
    live: ClassVar[bool] = False

    def read(self, value: Any) -> Any:
        for option in self.options:
            if type(value) is type(option) and value == option:
                return option
        raise ValueError(f"must be {self}, got {shown(value)}")

    def __str__(self) -> str:
        return either(map(repr, self.options))


@dataclass(frozen=True)
class Whole:
    """An integer in [low, 2⁶³)."""

    low: int = 0
    live: ClassVar[bool] = False

    def read(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"must be a whole number, got {shown(value)}")
        if not self.low <= value < 2**63:
            raise ValueError(f"must be a whole number from {self.low} to 2**63 - 1, got {shown(value)}")
        return value

    def __str__(self) -> str:
        return f"a whole number ≥ {self.low}"


@dataclass(frozen=True)
class Split:
    """How a parameter is cut into matrices: a word, names of equal parts, or sizes of parts."""

    words: ClassVar[tuple[str, ...]] = ("auto", "none", "experts")
    live: ClassVar[bool] = False

    def read(self, value: Any) -> str | tuple[Any, ...]:
        if isinstance(value, str) and value in self.words:
            return value
        parts = tuple(value) if isinstance(value, (tuple, list)) else ()
        named = all(isinstance(part, str) and part.isidentifier() for part in parts) and len({*parts}) == len(parts)
        sized = all(type(part) is int and 0 < part < 2**63 for part in parts)
        if len(parts) < 2 or not (named or sized):
            raise ValueError(f"must be {self}, got {shown(value)}")
        return parts

    def __str__(self) -> str:
        words = ", ".join(map(repr, self.words))
        return f"{words}, names of equal parts such as ('q', 'k', 'v'), or their sizes such as (768, 256, 256)"


class Domain(Protocol):
    """The values that a hyper-parameter may take, and how one is read; raises ValueError with what is wrong."""

    live: ClassVar[bool]

    def read(self, value: Any) -> Any: ...


def field(default: Any, domain: Domain, letter: str = "", spared: Any = _ABSENT) -> Any:
    """A hyper-parameter of a stage.

    `letter` is the paper's symbol for it. `spared` is the value that it takes for parameters left
    out of decay and of layerwise scaling (biases and norms).
    """
    metadata: dict[str, Any] = {"domain": domain, "letter": letter}
    if spared is not _ABSENT:
        metadata["spared"] = spared
    return dataclasses.field(default=default, metadata=metadata)


def read_number(text: str) -> float:
    """The float that a decimal text writes.

    Raises:
        ValueError: for what is no number.
        EdslError: for a number that a float would turn into 0 or ∞.
    """
    number = float(text)
    digits = text.lower().partition("e")[0]
    if number == 0 and any(digit in digits for digit in "123456789"):
        raise EdslError(f"{text[:40]} is too small for a float, which would be 0")
    if math.isinf(number) and "inf" not in text.lower():
        raise EdslError(f"{text[:40]} is too large for a float")
    return number


def _bound(value: float) -> str:
    return {math.inf: "∞", -math.inf: "−∞"}.get(value, plain(value))
