"""The largest certified step and the best certified rate: searches over the multiplier that end in exact arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from edsl.theory.certificates.multiplier import FINE, Circle, Sector, is_certified, radius_near
from edsl.theory.systems.loop import Loop

_DEEPEST = 1e-6  # of the quadratic's stable sharpness: below, nothing is certified
_WIDEST, _NARROWEST = 0.06, 3e-7  # of the cells that are certified as a whole, relative
_BACK = (0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)  # how far to retreat until exact arithmetic agrees
_SCAN, _HALVINGS, _GOLDEN = 32, 30, 20


@dataclass(frozen=True)
class Certificate:
    """‖θ_k − θ*‖ ≤ C ρᵏ on every f with curvatures in [L/κ, L], shown in exact arithmetic.

    Attributes:
        curvature: L. rate: ρ. weight: λ.
    """

    curvature: float
    rate: float
    weight: float


def largest_certified(loop: Loop, condition: float, below: float) -> float:
    """The largest L up to which the pipeline converges on every f of curvatures in [L/κ, L]; 0 where none is.

    All L between `below`/10⁶ and the answer are covered, by cells [L₁, L₂] certified as the one
    class [L₁/κ, L₂], on a grid of angles; the answer itself in exact arithmetic.

    Args:
        below: the largest L that can be: the quadratic's.
    """
    circle = Circle(loop, 1.0, FINE)
    first = at = below * _DEEPEST
    wide = _WIDEST
    while wide > _NARROWEST and at < below:
        end = min(at * (1 + wide), below)
        if circle.weight(at / condition, end) is None:
            wide /= 2
        else:
            at, wide = end, min(_WIDEST, wide * 1.5)
    if at == first:
        return 0.0
    return next((L for L in _retreat(at) if converges(loop, condition, L)), 0.0)


def certified_rate(loop: Loop, condition: float, L: float) -> Certificate | None:
    """The smallest rate that the condition gives at one L; None where it gives none below 1."""
    found = rate_at(loop, condition, L)
    if found is None:
        return None
    for share in (0.0, 1e-6, 1e-4, 1e-2, 0.1, 0.5):
        rate = _rounded_up(found + share * (1 - found))
        weight = Circle(loop, float(rate), FINE).weight(L / condition, L)
        if rate < 1 and weight is not None and is_certified(loop, sector(L, condition), rate, Fraction(weight)):
            return Certificate(L, float(rate), weight)
    return None


def best_rate(loop: Loop, condition: float, above: float) -> Certificate | None:
    """The smallest certified rate over all L up to one, and that L: a scan, then a golden section."""
    if above <= 0:
        return None

    def rate(logarithm: float) -> float:
        found = rate_at(loop, condition, math.exp(logarithm))
        return 1.0 if found is None else found

    grid = np.linspace(math.log(above * 1e-4), math.log(above), _SCAN)
    rates = [rate(x) for x in grid]
    best = int(np.argmin(rates))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return certified_rate(loop, condition, math.exp(_golden(rate, low, high)))


def sector(L: float, condition: float) -> Sector:
    """The functions of curvatures in [L/κ, L], κ = ∞ for convex ones."""
    return Sector(Fraction(L / condition), Fraction(L))


def converges(loop: Loop, condition: float, L: float) -> bool:
    """Whether the pipeline is shown to converge on every f of curvatures in [L/κ, L], in exact arithmetic."""
    weight = Circle(loop, 1.0, FINE).weight(L / condition, L)
    return weight is not None and is_certified(loop, sector(L, condition), Fraction(1), Fraction(weight))


def _retreat(L: float) -> Iterator[float]:
    return (L * (1 - share) for share in _BACK)


def rate_at(loop: Loop, condition: float, L: float) -> float | None:
    """The smallest ρ that holds on a grid of angles, by bisection; None where none below 1 does.

    It lies above what the quadratics of the class allow, and modes that no gradient reaches.
    """
    if Circle(loop, 1.0).weight(L / condition, L) is None:
        return None
    unreached = np.abs(np.roots([float(x) for x in reversed(loop.unreached)])).max(initial=0.0)
    low, high = max(radius_near(loop, L / condition), radius_near(loop, L), float(unreached)), 1.0
    for _ in range(_HALVINGS):
        middle = 1 - math.sqrt((1 - low) * (1 - high)) if high < 1 else low + (1 - low) / 2
        if Circle(loop, middle).weight(L / condition, L) is None:
            low = middle
        else:
            high = middle
        if high - low < 1e-7 * (1 - high):
            break
    return high if high < 1 else None


def _rounded_up(rate: float) -> Fraction:
    """A rate as a short fraction that is not smaller: six digits of its distance from 1."""
    left = 1 - rate
    digits = 6 - math.floor(math.log10(left)) if left > 0 else 0
    return 1 - Fraction(math.floor(Fraction(left) * 10**digits), 10**digits)


def _golden(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function of one number is least, by golden section."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(_GOLDEN):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return left if at_left <= at_right else right
