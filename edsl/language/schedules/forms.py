"""The forms of schedules: each one formula in the step, for numbers and for symbols.

A form is the share of the value at step k, after a warmup of w steps and before the end at T:

constant       1
linear         1 − s,  s = (k − w)/(T − w) within [0, 1]
cosine         (1 + cos πs)/2
wsd            1 until T − d, then 1 − t, 1 − √t or (1 + cos πt)/2,  t = (k − T + d)/d within [0, 1]
power          (k/w)^−p, with w at least 1
inverse_sqrt   (k/w)^−½
step           b for each milestone a ≤ k, multiplied
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Numbers:
    """The functions of forms, for floats; `edsl.theory.text.schedules` has them for symbols."""

    pi = math.pi
    cos = staticmethod(math.cos)
    sqrt = staticmethod(math.sqrt)
    minimum = staticmethod(min)
    maximum = staticmethod(max)

    @staticmethod
    def where(condition: bool, x: float, y: float) -> float:
        return x if condition else y


class Span(NamedTuple):
    """A step and the steps between which a form falls: all numbers, or symbols among them."""

    k: Any
    begin: Any
    end: Any
    decay: Any
    milestones: tuple[Any, ...]


def _between(k: Any, begin: Any, end: Any, at: Any) -> Any:
    """How far k is from begin to end, within [0, 1]."""
    return at.minimum(at.maximum((k - begin) / (end - begin), 0), 1)


def _constant(span: Span, given: dict[str, Any], at: Any) -> Any:
    return 1


def _linear(span: Span, given: dict[str, Any], at: Any) -> Any:
    return 1 - _between(span.k, span.begin, span.end, at)


def _cosine(span: Span, given: dict[str, Any], at: Any) -> Any:
    return (1 + at.cos(at.pi * _between(span.k, span.begin, span.end, at))) / 2


def _wsd(span: Span, given: dict[str, Any], at: Any) -> Any:
    spent = _between(span.k, span.end - span.decay, span.end, at)
    if given["shape"] == "cosine":
        return (1 + at.cos(at.pi * spent)) / 2
    return 1 - (at.sqrt(spent) if given["shape"] == "sqrt" else spent)


def _power(span: Span, given: dict[str, Any], at: Any) -> Any:
    begin = at.maximum(span.begin, 1)
    return (at.maximum(span.k, begin) / begin) ** -given.get("exponent", 0.5)


def _step(span: Span, given: dict[str, Any], at: Any) -> Any:
    share: Any = 1
    for milestone in span.milestones:
        share = share * at.where(span.k >= milestone, given["by"], 1)
    return share


class Form(NamedTuple):
    """A form: its formula, its own arguments with their defaults, and whether it ends at T."""

    share: Callable[[Span, dict[str, Any], Any], Any]
    own: dict[str, Any]
    ends: bool


FORMS = {
    "constant": Form(_constant, {}, False),
    "linear": Form(_linear, {"to": None}, True),
    "cosine": Form(_cosine, {}, True),
    "wsd": Form(_wsd, {"decay": 0.2, "shape": "linear"}, True),
    "power": Form(_power, {"exponent": 0.5}, False),
    "inverse_sqrt": Form(_power, {}, False),
    "step": Form(_step, {"at": (0.5, 0.75), "by": 0.1}, False),
}
COMMON = {"warmup": 0, "floor": 0.0, "steps": None}
SHAPES = ("linear", "sqrt", "cosine")
