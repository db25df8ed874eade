"""When a pipeline converges on f = hθ²/2: closed forms, exact conditions, and numbers for maps.

Letters: s = ηh, γ = α(1−β₁), κ = 1−β₂ where the momentum is an EMA and 1 where it is a sum. Three
models of E with momentum, weakest first, as lower bounds on γ (for s > 0):

    γ > −β₁ − (1−β₁)(1−β₂)/(κ s) + X

    frozen   X = 0: the paper's ODE with f′ and f″ held constant (Remark 2.2)
    ode      X = β₁β₂(1−β₁)/(β₁+β₂−2β₁β₂): the full linearised ODE, by Routh–Hurwitz
    exact    X = β₁β₂(1−β₁)/(1−β₁β₂): the recurrence itself, by Schur; and a flip bound on s

All closed forms broadcast over numpy arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import sympy

from edsl.errors import EdslError
from edsl.theory.linearise import CURVATURE, LinearSystem

EDGE = 1e-9  # a spectral radius within this of 1 is on the boundary


def simple_bound(beta1: float) -> float:
    """1/(1−β₁), the paper's bound on |α| (Remark 2.2); of the decimal number, so that 0.99 gives 100."""
    return float(1 / (1 - Fraction(repr(float(beta1)))))


def flip(gamma: Any, beta1: Any, beta2: Any, kappa: Any) -> Any:
    """The s at which an eigenvalue leaves through −1: 2(1+β₁)(1+β₂)/[κ(1+β₁+2γ)], ∞ if never."""
    gamma, beta1, beta2, kappa = np.broadcast_arrays(
        *(np.asarray(x, dtype=float) for x in (gamma, beta1, beta2, kappa))
    )
    bottom = kappa * (1 + beta1 + 2 * gamma)
    return np.where(bottom > 0, 2 * (1 + beta1) * (1 + beta2) / np.where(bottom > 0, bottom, 1), np.inf)


def hopf(gamma: Any, beta1: Any, beta2: Any, kappa: Any) -> Any:
    """The s at which a complex pair leaves: (1−β₁)(1−β₂)(1−β₁β₂)/(κd), d = −γ(1−β₁β₂) − β₁(1−β₂), ∞ if d ≤ 0."""
    gamma, beta1, beta2, kappa = np.broadcast_arrays(
        *(np.asarray(x, dtype=float) for x in (gamma, beta1, beta2, kappa))
    )
    d = -gamma * (1 - beta1 * beta2) - beta1 * (1 - beta2)
    top = (1 - beta1) * (1 - beta2) * (1 - beta1 * beta2)
    return np.where(d > 0, top / (kappa * np.where(d > 0, d, 1)), np.inf)


def stable_sharpness(gamma: Any, beta1: Any, beta2: Any, kappa: Any) -> Any:
    """s*: the recurrence converges exactly for 0 < s < s* = min(flip, hopf)."""
    return np.minimum(flip(gamma, beta1, beta2, kappa), hopf(gamma, beta1, beta2, kappa))


def cliff(beta1: float, beta2: float) -> float:
    """α* = −β₁(1−β₂)/[(1−β₁β₂)(1−β₁)], below which hopf limits: s* falls to a small value there."""
    return -beta1 * (1 - beta2) / ((1 - beta1 * beta2) * (1 - beta1))


def best(beta1: float, beta2: float, kappa: float) -> tuple[float, float]:
    """(α, s*) of the largest stable sharpness: γ = −(1+β₁)²(1−β₂)/[4(1−β₁β₂)], s* = 4(1−β₁β₂)/[κ(1−β₁)]."""
    gamma = -((1 + beta1) ** 2) * (1 - beta2) / (4 * (1 - beta1 * beta2))
    return gamma / (1 - beta1), 4 * (1 - beta1 * beta2) / (kappa * (1 - beta1))


def lower_bound(model: str, s: Any, beta1: float, beta2: float, kappa: float) -> Any:
    """The bound on γ from below of one of the models "frozen", "ode", "exact", for s > 0."""
    extra = {
        "frozen": 0.0,
        "ode": _ratio(beta1 * beta2 * (1 - beta1), beta1 + beta2 - 2 * beta1 * beta2),
        "exact": beta1 * beta2 * (1 - beta1) / (1 - beta1 * beta2),
    }[model]
    return -beta1 - (1 - beta1) * (1 - beta2) / (kappa * s) + extra


def ode_interval(
    lr: float, curvature: tuple[float, float], beta1: float, beta2: float, kappa: float
) -> tuple[float, float]:
    """The paper's interval for α over curvatures (f₂, f₁), f₂ ≤ 0 ≤ f₁; ±∞ where that side does not bound."""
    low, high = min(curvature[0], 0.0), max(curvature[1], 0.0)
    centre = -beta1 / (1 - beta1)
    width = (1 - beta2) / (kappa * lr) if lr > 0 else math.inf
    return (centre - width / high if high > 0 else -math.inf, centre - width / low if low < 0 else math.inf)


def _ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom else 0.0


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
