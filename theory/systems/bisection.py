"""Where a condition on one number begins to hold: by bisection in exact arithmetic, around what floats say."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

_AROUND = (1e-10, 1e-7, 1e-4, 1e-2)  # a guess, relative: how far from it is looked first


def boundary(
    holds: Callable[[Fraction], bool], bad: float, good: float, guess: float, relative: float
) -> tuple[float, float]:
    """(a place that fails, one that holds), no farther apart than a relative distance.

    The condition fails at `bad`, holds at `good`, and changes once between them. A good guess saves most of the
    halvings; a wrong one costs a few.
    """
    toward = 1 if good > bad else -1
    for share in _AROUND:
        reach = share * abs(guess)
        for place in (guess - toward * reach, guess + toward * reach):
            if min(bad, good) < place < max(bad, good):
                bad, good = (bad, place) if holds(Fraction(place)) else (place, good)
        if abs(good - bad) <= 2.1 * reach:
            break
    while abs(good - bad) > relative * max(abs(good), abs(bad)):
        middle = (good + bad) / 2
        if middle in (good, bad):
            break
        bad, good = (bad, middle) if holds(Fraction(middle)) else (middle, good)
    return bad, good
