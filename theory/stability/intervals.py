"""When a linear pipeline converges on f = hθ²/2: exact boundaries, and spectral radii of many points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sympy

from edsl.theory.systems.linearise import LinearSystem, Z
from edsl.theory.systems.loop import Edge, Loop, widest_gaps
from edsl.theory.systems.polynomial import as_float, radius_of


@dataclass(frozen=True)
class Interval:
    """Curvatures low < h < high on which the recurrence converges, and what ends it above.

    Attributes:
        limited_by: "flip" (an eigenvalue at −1: the iterates alternate), "hopf" (a complex pair: they
            oscillate and grow), "fold" (an eigenvalue at +1: they run away) or "none".
    """

    low: float
    high: float
    limited_by: str

    def holds(self, h: float) -> bool:
        return self.low < h < self.high


def stable_intervals(loop: Loop) -> list[Interval]:
    """All values of h for which a loop converges: exact boundaries, in order.

    Between neighbouring edges, the places where an eigenvalue lies on the unit circle, the number of
    eigenvalues inside does not change, so one place decides, in exact arithmetic.
    """
    return [
        Interval(
            -math.inf if low is None else as_float(low),
            math.inf if high is None else as_float(high),
            "none" if high is None else _kind(loop.edges, high),
        )
        for low, high, between in widest_gaps(loop.edges)
        if loop.is_stable(between)
    ]


def _kind(edges: tuple[Edge, ...], place: Fraction) -> str:
    return next(edge.kind for edge in edges if edge.curvature == place)


def schur_conditions(system: LinearSystem) -> list[Any]:
    """Expressions that are all positive exactly where every eigenvalue lies inside the unit circle.

    p(1), (−1)ⁿ p(−1), and the Hurwitz minors of the bilinear image (1−w)ⁿ p((1+w)/(1−w)).
    """
    polynomial = sympy.Poly((Z * sympy.eye(len(system.states)) - system.A).det(method="berkowitz"), Z)
    degree = len(system.states)
    image = sympy.Integer(0)
    w = sympy.Symbol("w")
    for (power,), coefficient in polynomial.terms():
        image += coefficient * (1 + w) ** power * (1 - w) ** (degree - power)
    coefficients: list[Any] = sympy.Poly(sympy.expand(image), w).all_coeffs()
    coefficients = [sympy.Integer(0)] * (degree + 1 - len(coefficients)) + coefficients
    hurwitz: Any = sympy.Matrix(
        degree, degree, lambda i, j: coefficients[2 * j - i + 1] if 0 <= 2 * j - i + 1 <= degree else 0
    )
    minors = [sympy.expand(hurwitz[:n, :n].det(method="berkowitz")) for n in range(1, degree)]
    return [sympy.expand(coefficients[0]), *minors, sympy.expand(coefficients[-1])]


def radius_at(loop: Loop, h: float) -> float:
    """The spectral radius of all modes at one curvature, in exact arithmetic to 12 digits."""
    return radius_of(loop.at(Fraction(h)))


def minimal_radius_at(loop: Loop, h: float) -> float:
    """The largest |eigenvalue| among the modes that gradient noise reaches and θ shows."""
    return radius_of(loop.minimal.at(Fraction(h)))


def spectral_radius(system: LinearSystem, symbols: list[sympy.Symbol]) -> Any:
    """A vectorised function of the symbols: the largest |eigenvalue| of A, by batched eigenvalues."""
    entries = [sympy.lambdify(symbols, entry, "numpy") for entry in system.A]
    size = len(system.states)

    def compute(*values: Any) -> Any:
        arrays = np.broadcast_arrays(*(np.asarray(value, dtype=float) for value in values))
        columns = [np.broadcast_to(np.asarray(entry(*arrays), dtype=float), arrays[0].shape) for entry in entries]
        matrices = np.stack(columns, axis=-1).reshape(*arrays[0].shape, size, size)
        return np.abs(np.linalg.eigvals(matrices)).max(axis=-1)

    return compute


def from_zero(intervals: list[Interval]) -> Interval | None:
    """The stable interval that small positive curvatures lie in, or None where they diverge."""
    return next((interval for interval in intervals if interval.low <= 0 < interval.high), None)
