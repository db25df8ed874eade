"""Ranges and axes as the command line writes them: -1:100, alpha=-100:100."""

from __future__ import annotations

import math

from edsl.errors import EdslError
from edsl.language.domain import read_number


def read_range(text: str, option: str) -> tuple[float, float]:
    """LOW:HIGH, or one number for both.

    Raises:
        EdslError: when it is neither, or not finite.
    """
    parts = text.split(":")
    try:
        numbers = [read_number(part) for part in parts]
    except EdslError as reason:
        raise EdslError(f"{option}: {reason}") from None
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(math.isfinite(number) for number in numbers):
        raise EdslError(f"{option} must be LOW:HIGH, such as -1:100, got {text[:60]!r}")
    return numbers[0], numbers[-1]


def read_axis(text: str, option: str) -> tuple[str, float, float]:
    """NAME=LOW:HIGH with LOW < HIGH; raises EdslError otherwise."""
    name, equals, span = text.partition("=")
    if not equals or not name:
        raise EdslError(f"{option} must be NAME=LOW:HIGH, such as alpha=-100:100, got {text[:60]!r}")
    low, high = read_range(span, option)
    if low >= high:
        raise EdslError(f"{option} must be NAME=LOW:HIGH with LOW < HIGH, got {text[:60]!r}")
    return name, low, high
