"""A number as a report shows it."""

from __future__ import annotations

import math


def figure(value: float) -> str:
    """A number with six digits; there is one zero, and infinity is ∞."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value + 0.0:.6g}"
