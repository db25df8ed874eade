"""When a linear pipeline converges on f = hθ²/2: exact boundaries, and spectral radii of many points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import sympy

from edsl.errors import EdslError
from edsl.theory.linearise import CURVATURE, LinearSystem

EDGE = 1e-9  # a spectral radius within this of 1 is on the boundary


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


def stable_intervals(system: LinearSystem) -> list[Interval]:
    """All curvatures for which a system with numbers in it converges: exact boundaries, in order.

    The characteristic polynomial is mapped by z = (1+w)/(1−w); the real roots in h of its ends and
    of its last Hurwitz minor are all places where an eigenvalue can cross the unit circle. Between
    neighbours the spectral radius decides.
    """
    curvatures = boundaries(system)
    edges = [-math.inf, *curvatures, math.inf]
    radius = radius_of(system)
    intervals: list[Interval] = []
    for low, high in pairwise(edges):
        if radius(_inside(low, high)) >= 1:
            continue
        if intervals and intervals[-1].high == low and radius(low) < 1:
            intervals[-1] = Interval(intervals[-1].low, high, _exit(system, high))
        else:
            intervals.append(Interval(low, high, _exit(system, high)))
    return intervals


def boundaries(system: LinearSystem) -> list[float]:
    """The curvatures at which an eigenvalue may lie on the unit circle, sorted."""
    found: set[float] = set()
    for condition in schur_conditions(system):
        polynomial = sympy.Poly(condition, CURVATURE)
        if polynomial.degree() > 0:
            roots = sympy.Poly(polynomial.sqf_part(), CURVATURE).nroots(n=20, maxsteps=200)
            found |= {float(sympy.re(root)) for root in roots if abs(sympy.im(root)) < 1e-12 * (1 + abs(root))}
    return sorted(found)


def schur_conditions(system: LinearSystem) -> list[Any]:
    """Expressions that are all positive exactly where every eigenvalue lies inside the unit circle.

    p(1), (−1)ⁿ p(−1), and the Hurwitz minors of the bilinear image (1−w)ⁿ p((1+w)/(1−w)).
    """
    polynomial = system.characteristic
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


def radius_of(system: LinearSystem) -> Any:
    """h → spectral radius of all modes, for numbers or arrays of h."""
    compute = spectral_radius(system, [CURVATURE])
    return lambda h: float(compute(np.float64(h)))


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


def minimal_radius(system: LinearSystem) -> float:
    """The largest |eigenvalue| among the modes that gradient noise reaches and θ shows."""
    coefficients = [float(c) for c in system.minimal_characteristic.all_coeffs()]
    return float(np.abs(np.roots(coefficients)).max(initial=0.0))


def _inside(low: float, high: float) -> float:
    if math.isinf(low) and math.isinf(high):
        return 0.0
    if math.isinf(low):
        return high - max(1.0, abs(high))
    if math.isinf(high):
        return low + max(1.0, abs(low))
    return (low + high) / 2


def _exit(system: LinearSystem, high: float) -> str:
    """How the system loses stability at the upper end of an interval."""
    if math.isinf(high):
        return "none"
    matrix = np.array(system.A.subs(CURVATURE, high).evalf().tolist(), dtype=float)
    eigenvalues = np.linalg.eigvals(matrix)
    leaving = eigenvalues[np.argmin(np.abs(np.abs(eigenvalues) - 1) + 1e-3 * (np.abs(eigenvalues) < 1 - 1e-4))]
    if abs(leaving.imag) > 1e-4:
        return "hopf"
    return "flip" if leaving.real < 0 else "fold"


def positive_interval(intervals: list[Interval]) -> Interval:
    """The stable interval just above h = 0; raises EdslError when there is none."""
    for interval in intervals:
        if interval.low <= EDGE < interval.high:
            return interval
    raise EdslError("no small positive curvature is stable: this pipeline diverges with any step size")
