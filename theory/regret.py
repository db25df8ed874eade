"""The convex regret bound (Theorem 2) and the non-convex rate (Theorem 1): which conditions hold.

R(T) = O(√T) is claimed for ALTO if gradients and parameters are bounded, the loss convex, β₂²/β₃ < 1,
η_k = η/√k, |α_k| ≤ α/√k, λ_k ≤ λ/√k, and q_k is non-decreasing in every coordinate. The first kind
of condition follows from hyper-parameters, the others show only while training; see `monitor`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import sympy

from edsl.theory.schedule import K, read_schedule

HOLDS, FAILS, TRAINING = "holds", "fails", "only while training"


@dataclass(frozen=True)
class Condition:
    """One condition: its name, a verdict ("holds", "fails", "only while training"), number and reason."""

    name: str
    verdict: str
    value: float | None
    reason: str


def conditions(
    beta2: float,
    beta3: float,
    *,
    beta1: float = 0.99,
    v_reads: str = "u",
    lr_schedule: str = "1/sqrt(k)",
    alpha_schedule: str = "1/sqrt(k)",
    decay_schedule: str = "1/sqrt(k)",
) -> list[Condition]:
    """Every condition of Theorem 2 on these hyper-parameters and schedules.

    Args:
        lr_schedule, alpha_schedule, decay_schedule: factors on η, α and λ as formulas in k.

    Raises:
        SpecError: for a schedule that can't be read.
    """
    found = [moment_condition("β₂²/β₃ < 1", beta2, beta3)]
    if v_reads == "g":
        found.append(moment_condition("β₁²/β₃ < 1, as v reads the raw gradient", beta1, beta3))
    found += [
        schedule_condition("η_k = η/√k", lr_schedule, two_sided=True),
        schedule_condition("|α_k| ≤ α/√k", alpha_schedule, two_sided=False),
        schedule_condition("λ_k ≤ λ/√k", decay_schedule, two_sided=False),
        Condition("bounded gradients and parameters", TRAINING, None, "depends on the loss and the path"),
        Condition("convex loss", TRAINING, None, "a property of the loss, not of the optimizer"),
        Condition(
            "q_k non-decreasing",
            TRAINING,
            None,
            "it fails generically: a coordinate without gradient violates it "
            + (f"once k > 1/(1−β₃) = {1 / (1 - beta3):.4g}" if beta3 < 1 else "at once"),
        ),
    ]
    return found


def moment_condition(name: str, decay: float, beta3: float) -> Condition:
    """decay²/β₃ < 1, by which |m|/√v is bounded."""
    ratio = decay**2 / beta3 if beta3 > 0 else math.inf
    if ratio >= 1:
        return Condition(name, FAILS, ratio, "|m|/√v has no bound")
    return Condition(name, HOLDS, ratio, f"|m|/√v ≤ {moment_bound(decay, beta3):.4g}, attained")


def moment_bound(beta2: float, beta3: float) -> float:
    """sup |m|/√v = (1−β₂)/√((1−β₃)(1−β₂²/β₃)), by Cauchy–Schwarz; ∞ where β₂²/β₃ ≥ 1.

    Example:
        >>> from edsl.theory.regret import moment_bound
        >>> round(moment_bound(0.9, 0.99), 3)
        2.345
    """
    if beta3 <= 0 or beta2**2 >= beta3:
        return math.inf
    return (1 - beta2) / math.sqrt((1 - beta3) * (1 - beta2**2 / beta3))


def schedule_condition(name: str, text: str, two_sided: bool) -> Condition:
    """The limit of √k times a schedule: finite, and for the learning rate above 0 too."""
    limit = sympy.limit(sympy.sqrt(K) * sympy.Abs(read_schedule(text)), K, sympy.oo)
    said = f"√k times {text} tends to {_shown(limit)}"
    finite = bool(limit.is_finite)
    holds = finite and (limit.is_positive is True or not two_sided)
    value = float(limit) if finite and limit.is_number else (math.inf if limit == sympy.oo else None)
    if not finite and limit != sympy.oo:
        said = f"sympy finds no limit of √k times {text}"
    elif finite and not holds:
        said += ": it falls faster than 1/√k, and the steps end too soon"
    elif not finite:
        said += ": it falls more slowly than 1/√k"
    return Condition(name, HOLDS if holds else FAILS, value, said)


def _shown(limit: Any) -> str:
    return "∞" if limit == sympy.oo else f"{float(limit):g}" if limit.is_number else str(limit)


def nonconvex_rate(beta3: float, eps1: float, bound: float = 1.0) -> Condition:
    """Theorem 1's μ = √(1−β₃) G∞/ε₁ ≤ 1; above it the rate is vacuous.

    Args:
        bound: G∞, the largest gradient entry.
    """
    mu = math.sqrt(1 - beta3) * bound / eps1 if eps1 > 0 else math.inf
    if mu <= 1:
        return Condition("Theorem 1: μ = √(1−β₃) G∞/ε₁ ≤ 1", HOLDS, mu, f"μ = {mu:.4g} for G∞ = {bound:g}")
    return Condition(
        "Theorem 1: μ = √(1−β₃) G∞/ε₁ ≤ 1", FAILS, mu, f"μ = {mu:.4g} for G∞ = {bound:g}: the rate is vacuous"
    )
