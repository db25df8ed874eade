"""Stability of E with a momentum behind it on f = hθ²/2, in closed form.

Letters: s = ηh, γ = α(1−β₁), κ = 1−β₂ where the momentum is an EMA and 1 where it is a sum. Three
models of E with momentum, weakest first, as lower bounds on γ (for s > 0):

    γ > −β₁ − (1−β₁)(1−β₂)/(κ s) + X

    frozen   X = 0: the paper's ODE with f′ and f″ held constant (Remark 2.2)
    ode      X = β₁β₂(1−β₁)/(β₁+β₂−2β₁β₂): the full linearised ODE, by Routh–Hurwitz
    exact    X = β₁β₂(1−β₁)/(1−β₁β₂): the recurrence itself, by Schur; and a flip bound on s

All closed forms broadcast over numpy arrays; those of one point take fractions too.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np


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


def cliff(beta1: Any, beta2: Any) -> Any:
    """α* = −β₁(1−β₂)/[(1−β₁β₂)(1−β₁)], below which hopf limits: s* falls to a small value there."""
    return -beta1 * (1 - beta2) / ((1 - beta1 * beta2) * (1 - beta1))


def best(beta1: Any, beta2: Any, kappa: Any) -> tuple[Any, Any]:
    """(α, s*) of the largest stable sharpness: γ = −(1+β₁)²(1−β₂)/[4(1−β₁β₂)], s* = 4(1−β₁β₂)/[κ(1−β₁)]."""
    gamma = -((1 + beta1) ** 2) * (1 - beta2) / (4 * (1 - beta1 * beta2))
    return gamma / (1 - beta1), 4 * (1 - beta1 * beta2) / (kappa * (1 - beta1))


def lower_bound(model: str, s: Any, beta1: Any, beta2: Any, kappa: Any) -> Any:
    """The bound on γ from below of one of the models "frozen", "ode", "exact", for s > 0."""
    extra = {
        "frozen": 0,
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
    width = (1 - beta2) / (kappa * lr) if kappa * lr > 0 else math.inf
    return (centre - width / high if high > 0 else -math.inf, centre - width / low if low < 0 else math.inf)


def _ratio(top: Any, bottom: Any) -> Any:
    return top / bottom if bottom else 0
