"""The weighted off-by-one condition: one multiplier that bounds a pipeline on every smooth strongly convex function.

A pipeline is θ = −G(z) ∇f(θ), G = gain/free. Let f be m-strongly convex with an L-Lipschitz gradient.
If for some λ in [0, ρ], on all of |z| = ρ,

    Re[(1 + m G)* (1 − λ e^{−iω}) (1 + L G)] > 0,        z = ρ e^{iω},

and the loop with the constant gain m has all its modes inside that circle, then ‖θ_k − θ*‖ ≤ C ρᵏ for each
such f, C being a constant of the pipeline, m and L times the start's distance from rest. At m = 0 and ρ = 1,
where z = 1 is left out, it gives convergence alone. θ* is where the pipeline rests: the minimiser of f, or with
weight decay that of f with its penalty.

Source: Lessard, Recht and Packard 2016, Lemma 10 and Theorem 4; Boczar, Lessard and Recht 2015 for ρ.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from edsl.theory.systems.circle import correlation, is_positive_between, on_circle, real_part
from edsl.theory.systems.loop import Loop
from edsl.theory.systems.polynomial import lies_inside, multiply, quotient, value

_NEAREST = 1e-9  # the least angle
FINE, COARSE = 4000, 750  # angles in powers from the least on, and as many evenly spaced


@dataclass(frozen=True)
class Sector:
    """The functions that are m-strongly convex with an L-Lipschitz gradient, 0 ≤ m ≤ L."""

    m: Fraction
    L: Fraction


@dataclass(frozen=True)
class Circle:
    """A loop on |z| = ρ: free and gain at many angles, in floats."""

    loop: Loop
    radius: float
    points: int = COARSE

    @cached_property
    def angles(self) -> Any:
        geometric = np.geomspace(_NEAREST, np.pi, self.points)
        return np.concatenate([[0.0], geometric, np.linspace(np.pi / self.points, np.pi, self.points)])

    @cached_property
    def _values(self) -> tuple[Any, Any]:
        z = self.radius * np.exp(1j * self.angles)
        return tuple(np.polyval(_floats(part), z) for part in (self.loop.minimal.free, self.loop.minimal.gain))

    def weights(self, m: float, L: float) -> tuple[float, float]:
        """The λ for which the condition holds at all these angles, as an open interval; empty where none does."""
        free, gain, angles = (x if m else x[1:] for x in (*self._values, self.angles))  # at m = 0, 1 is a pole
        product = np.conj(free + m * gain) * (free + L * gain)
        size = np.maximum(np.abs(product), 1e-300)
        a, b = product.real / size, (product * np.exp(-1j * angles)).real / size
        with np.errstate(divide="ignore", invalid="ignore"):
            bound = a / b
        high = min(self.radius, bound[b > 0].min(initial=np.inf))
        low = max(0.0, bound[b < 0].max(initial=-np.inf))
        return (low, high) if (a[b == 0] > 0).all() else (1.0, 0.0)

    def weight(self, m: float, L: float) -> float | None:
        """A λ in the middle of those, where the loop with the gain m lies inside the circle as well."""
        low, high = self.weights(m, L)
        if not low < high - 1e-12 or radius_near(self.loop, m or L) >= self.radius:
            return None
        return float(low + high) / 2


def radius_near(loop: Loop, h: float) -> float:
    """The largest |eigenvalue| at one curvature among the modes that gradients reach and θ shows, in floats."""
    free, gain = _floats(loop.minimal.free), _floats(loop.minimal.gain)
    roots = np.roots(np.polyadd(free, h * gain))
    return float(np.abs(roots).max(initial=0.0))


def is_certified(loop: Loop, sector: Sector, radius: Fraction, weight: Fraction) -> bool:
    """Whether the condition holds with this λ on |z| = ρ, in exact arithmetic, at every angle.

    The modes that no gradient reaches must lie inside the circle if θ shows them, those that θ does
    not show inside the unit circle.
    """
    small = loop.minimal
    inside = lies_inside(small.at(sector.m or sector.L), radius) and lies_inside(loop.unreached, radius)
    if not (0 <= weight <= radius <= 1 and inside and lies_inside(loop.hidden)):
        return False
    low, high = (on_circle(small.at(gain), radius) for gain in (sector.m, sector.L))
    waves = correlation(multiply((-weight, Fraction(1)), high), low)  # of (z − λ) high · low*
    condition = real_part({m - 1: c for m, c in waves.items()})
    if not sector.m and value(condition, Fraction(1)) == 0:  # free is 0 at z = 1, and the condition is |free|² times
        condition = quotient(condition, (Fraction(1), Fraction(-1)))
    return is_positive_between(condition, Fraction(-1), Fraction(1))


def _floats(polynomial: Any) -> Any:
    return np.array([float(x) for x in reversed(polynomial)], dtype=float)
