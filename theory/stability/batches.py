"""Stability in mean square: the curvature of f = hθ²/2 is drawn anew at each step, as batches draw it.

With mean h and standard deviation c·h, the curvature's noise enters θ through T(z) = gain/(free + h · gain),
so E θ² stays bounded and decays exactly if the mean converges and

    (c h)² Σ tₙ² < 1,        tₙ the impulse response of T.

The sum is a rational function of the loop's numbers (Åström, Jury and Agniel 1970). By that the largest c
at one curvature is 1/(h ‖t‖), and plain gradient descent is stable for s < 2/(1 + c²).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from edsl.errors import EdslError
from edsl.language.domain import plain
from edsl.theory.stability.intervals import Interval
from edsl.theory.systems.bisection import boundary
from edsl.theory.systems.circle import on_circle
from edsl.theory.systems.loop import Loop
from edsl.theory.systems.polynomial import lies_inside, power_gain, radius_of

_SCAN, _HALVINGS, _EDGE = 400, 45, 1e-13
_BITS = 34  # of a rate that is tried
_LEAST = 1e-8  # of an interval's end, from where on it is scanned
_NEAR = 1e-3


def amplification(loop: Loop, h: Any) -> Any:
    """h² Σ tₙ²: the variance of h θ per unit of white gradient noise, where the mean converges at h."""
    small = loop.minimal
    gain = [*small.gain, *[0] * (len(small.free) - len(small.gain))]
    closed = [x + h * y for x, y in zip(small.free, gain)]
    return h * h * power_gain(small.gain, closed)


def steady_variance(loop: Loop, h: Fraction) -> float | None:
    """Var θ in the long run under white gradient noise of variance 1; None where it grows without bound."""
    if h == 0 or not loop.is_stable(h):
        return None
    return float(amplification(loop, h) / h**2)


def largest_noise(loop: Loop, h: Fraction) -> float:
    """The c below which the pipeline is stable in mean square at one curvature; 0 where its mean diverges."""
    if not loop.is_stable(h):
        return 0.0
    found = amplification(loop, h)
    return math.inf if found == 0 else 1 / math.sqrt(found)


def growth(loop: Loop, h: float, c: float) -> float:
    """The factor by which E‖x‖² changes a step in the long run: R of (c h)² Σ tₙ² R⁻ⁿ = 1, or the mean's alone.

    By bisection over √R, in exact arithmetic, to 8 digits.
    """
    mean = radius_of(loop.at(Fraction(h))) ** 2
    small, noise = loop.minimal, (Fraction(c) * Fraction(h)) ** 2
    closed = small.at(Fraction(h))

    def holds(root: Fraction) -> bool:
        """Whether second moments grow by less than root² a step."""
        root = Fraction(round(root * 2**_BITS), 2**_BITS)
        if not lies_inside(closed, root):
            return False
        top, bottom = (on_circle(part, root) for part in (small.gain, closed))
        return noise * power_gain(top, bottom) < 1

    if not c or not small.gain:
        return mean
    high = 1.0
    while not holds(Fraction(high)):
        high *= 4
    guess = _guess(lambda root: _holds_in_floats(_in_floats(loop), h, c, root), 0.0, high)
    return max(mean, sum(boundary(holds, 0.0, high, guess, 1e-9)) ** 2 / 4)


def noisy_intervals(loop: Loop, intervals: list[Interval], c: float) -> list[Interval]:
    """The parts of the intervals on which the mean converges that are stable in mean square too.

    Edges are found by a scan of 400 curvatures in each interval and bisection in exact arithmetic, so
    a gap that is narrower than the scan is missed.
    """
    if c == 0 or not loop.minimal.gain:
        return intervals
    found = list[Interval]()
    for one in intervals:
        places = _scanned(one)
        with np.errstate(all="ignore"):
            noise = c * c * np.asarray(amplification(_in_floats(loop), places))
        good = (noise < 1) | (places == 0)
        for i in np.nonzero(~(noise > 0) | _near_ends(one, places))[0]:  # where floats may mislead
            good[i] = places[i] == 0 or _holds(loop, c, float(places[i]))
        edges = [_edge(loop, c, places[i], places[i + 1]) for i in np.nonzero(good[1:] != good[:-1])[0]]
        ends = [*([one.low] if good[0] else []), *edges, *([one.high] if good[-1] else [])]
        kinds = dict.fromkeys(edges, "noise")
        found += [Interval(low, high, kinds.get(high, one.limited_by)) for low, high in zip(ends[::2], ends[1::2])]
    return found


def relative_noise(batch: float, scale: float) -> float:
    """c = √(B_noise/B), of batches of B and a noise scale B_noise = tr Σ/‖G‖² (McCandlish et al. 2018).

    That takes the curvature's noise for the gradient's: exact where all examples have one minimum, so
    that an example's gradient is its own curvature times θ.

    Raises:
        EdslError: for a number that isn't finite and above 0.
    """
    for name, value in {"--batch": batch, "--noise-scale": scale}.items():
        if not (math.isfinite(value) and value > 0):
            raise EdslError(f"{name} must be a number above 0, got {plain(value)}")
    return math.sqrt(scale / batch)


def _scanned(one: Interval) -> Any:
    """Curvatures inside an interval, close to each other near 0 and near its ends."""
    high = one.high if math.isfinite(one.high) else max(1.0, abs(one.low) if math.isfinite(one.low) else 1.0) * 1e9
    low = one.low if math.isfinite(one.low) else -max(1.0, abs(high)) * 1e9
    shares = np.geomspace(_LEAST, 0.5, _SCAN // 8)
    near_ends = [low + (high - low) * shares, high - (high - low) * shares]
    near_zero = [
        end * np.geomspace(_LEAST, 1 - _LEAST, _SCAN // 4) for end in (low, high) if low < 0 < high or end == high
    ]
    return np.unique([x for x in np.concatenate([*near_ends, *near_zero]) if low < x < high])


def _near_ends(one: Interval, places: Any) -> Any:
    """Which curvatures are so near to an end of an interval that an eigenvalue is nearly on the unit circle."""
    return np.any(
        [np.abs(places - end) <= _NEAR * abs(end) for end in (one.low, one.high) if end and math.isfinite(end)], axis=0
    )


def _edge(loop: Loop, c: float, first: float, second: float) -> float:
    """Where mean-square stability ends between two curvatures of which one has it."""
    good, bad = map(float, (first, second) if _holds(loop, c, first) else (second, first))
    floats = _in_floats(loop)
    guess = _guess(lambda h: _holds_in_floats(floats, h, c), bad, good)
    return boundary(lambda h: _holds(loop, c, float(h)), bad, good, guess, _EDGE)[1]


def _guess(holds: Callable[[float], bool], bad: float, good: float) -> float:
    """Where a condition begins to hold, in floats."""
    for _ in range(_HALVINGS):
        middle = (good + bad) / 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return (good + bad) / 2


def _holds_in_floats(loop: Any, h: float, c: float, root: float = 1.0) -> bool:
    """Whether second moments grow by less than root² a step, as floats say it."""
    n = len(loop.free)
    gain = [*loop.gain, *[0.0] * (n - len(loop.gain))]
    closed = [(x + h * y) * root**k for k, (x, y) in enumerate(zip(loop.free, gain))]
    try:
        return 0 < power_gain([y * root**k for k, y in enumerate(gain)], closed) * (c * h) ** 2 < 1
    except (ZeroDivisionError, OverflowError):
        return False


def _holds(loop: Loop, c: float, h: float) -> bool:
    at = Fraction(h)
    return bool(loop.is_stable(at) and amplification(loop, at) * Fraction(c) ** 2 < 1)


def _in_floats(loop: Loop) -> Any:
    small = loop.minimal
    return _Floats(tuple(map(float, small.free)), tuple(map(float, small.gain)))


class _Floats:
    """A minimal loop in floats, for many curvatures at once."""

    def __init__(self, free: tuple[float, ...], gain: tuple[float, ...]) -> None:
        self.free, self.gain = free, gain
        self.minimal = self
