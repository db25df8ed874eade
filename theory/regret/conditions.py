"""The convex regret bound (Theorem 2) and the non-convex rate (Theorem 1): which conditions hold.

R(T) = O(√T) is claimed for ALTO if gradients and parameters are bounded, the loss convex, β₂²/β₃ < 1,
η_k = η/√k, |α_k| ≤ α/√k, λ_k ≤ λ/√k, and q_k is non-decreasing in every coordinate. The first kind
of condition follows from hyper-parameters, the others show only while training; see `monitor`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy

from edsl.errors import EdslError
from edsl.language.pipeline import Pipeline
from edsl.theory.regret.schedule import read_schedule
from edsl.theory.systems.exploration import places_of_e
from edsl.theory.systems.polynomial import Polynomial, common_factor, multiply, power_gain, quotient, radius_of

HOLDS, FAILS, TRAINING = "holds", "fails", "only while training"


@dataclass(frozen=True)
class Condition:
    """One condition: its name, a verdict ("holds", "fails", "only while training"), number and reason."""

    name: str
    verdict: str
    value: float | None
    reason: str


@dataclass(frozen=True)
class Readings:
    """What the two moments read, where that is not the same: m reads x, v reads w, and x = over(z) w.

    Attributes:
        name: of the condition on over's poles.
        over: a transfer function, constants first; None where x is no filter of w: v misses what m sees.
        exact: whether it holds from the first step on, so that the bound is attained.
    """

    name: str
    over: tuple[Polynomial, Polynomial] | None
    exact: bool = True


def readings(pipeline: Pipeline) -> Readings | None:
    """What the moments of a pipeline read; None where both read the same.

    Raises:
        EdslError: where they don't and the adaptors are no filter.
    """
    from edsl.theory.systems.filter import adaptor_filter

    update: Any = pipeline.update
    m, v = (getattr(update, name, "u") for name in ("m_reads", "v_reads"))
    if m == v or pipeline.update_index == 1:
        return None
    said = f"as m reads {m} and v reads {v}"
    if any(stage.needs_noise and getattr(stage, "std", 1) != 0 for stage in pipeline.stages):
        return Readings(f"v sees what m sees, {said}", None)
    try:
        found = adaptor_filter(pipeline)
    except EdslError as reason:
        raise EdslError(f"{said}, a bound on |m|/√v needs the adaptors as a filter, and {reason}") from None
    top, bottom = found.fraction
    if top == bottom:
        return None
    pole = "β₁" if len(places_of_e(pipeline)) == 1 else "a pole of the adaptors"
    if m == "u":
        return Readings(f"{pole}²/β₃ < 1, {said}", (top, bottom), not found.notes)
    zero = "((β₁+γ)/(1+γ))" if len(places_of_e(pipeline)) == 1 else "a zero of the adaptors"
    over = (bottom, top) if len(top) == len(bottom) else None  # the inverse would need gradients to come
    return Readings(f"{zero}²/β₃ < 1, {said}", over, not found.notes)


def conditions(
    beta2: float,
    beta3: float,
    *,
    reads: Readings | None = None,
    lr_schedule: str = "1/sqrt(k)",
    alpha_schedule: str = "1/sqrt(k)",
    decay_schedule: str = "1/sqrt(k)",
    lr: float = 1.0,
    alpha: float = 1.0,
    decay: float = 1.0,
) -> list[Condition]:
    """Every condition of Theorem 2 on these hyper-parameters and schedules.

    Args:
        reads: what the moments read, of `readings`.
        lr_schedule, alpha_schedule, decay_schedule: factors on η, α and λ as formulas in k.
        lr, alpha, decay: the largest η, |α| and λ; what is 0 meets any bound from above.

    Raises:
        SpecError: for a schedule that can't be read.
        EdslError: for one that can't be analysed.
    """
    for text in (lr_schedule, alpha_schedule, decay_schedule):
        read_schedule(text)  # also one that nothing needs must be readable
    found = moment_conditions(beta2, beta3, reads)
    found += [
        schedule_condition("η_k = η/√k", lr_schedule, two_sided=True)
        if lr > 0
        else Condition("η_k = η/√k", FAILS, 0.0, "lr is 0: nothing moves"),
        schedule_condition("|α_k| ≤ α/√k", alpha_schedule, two_sided=False)
        if alpha != 0
        else Condition("|α_k| ≤ α/√k", HOLDS, 0.0, "there is no E, or its alpha is 0"),
        schedule_condition("λ_k ≤ λ/√k", decay_schedule, two_sided=False, signed=False)
        if decay > 0
        else Condition("λ_k ≤ λ/√k", HOLDS, 0.0, "weight decay is 0"),
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


def moment_conditions(beta2: float, beta3: float, reads: Readings | None = None) -> list[Condition]:
    """β₂²/β₃ < 1 and, where the moments read different things, a condition on the filter between them."""
    bound = moment_bound(beta2, beta3, reads)
    if math.isinf(bound):
        reason = "|m|/√v has no bound"
    else:
        exact = reads is None or reads.exact
        reason = f"|m|/√v ≤ {bound:.4g}, " + ("attained" if exact else "but for what the first step does")
    square = Fraction(repr(float(beta2))) ** 2
    ratio = _over(square, beta3)
    verdict = HOLDS if ratio < 1 else FAILS
    if reads is None:
        return [Condition("β₂²/β₃ < 1", verdict, ratio, reason)]
    first = Condition("β₂²/β₃ < 1", verdict, ratio, "of m's own average; the next condition is of what it reads")
    if reads.over is None:
        return [first, Condition(reads.name, FAILS, math.inf, reason)]
    ratio = radius_of(reads.over[1]) ** 2 / beta3 if beta3 > 0 else math.inf
    return [first, Condition(reads.name, HOLDS if ratio < 1 - 1e-11 else FAILS, ratio, reason)]


def _over(square: Fraction, beta3: float) -> float:
    if beta3 <= 0:
        return math.inf if square > 0 else 0.0
    return float(square / Fraction(repr(float(beta3))))


def moment_bound(beta2: float, beta3: float, reads: Readings | None = None) -> float:
    """sup |m|/√v, by Cauchy–Schwarz; ∞ where there is none.

    m is Σ cₙ w_{k−n} of what v reads, v = (1−β₃) Σ β₃ⁿ w²_{k−n}: the bound is √(Σ cₙ²/((1−β₃)β₃ⁿ)). Where
    both read the same it is (1−β₂)/√((1−β₃)(1−β₂²/β₃)).

    Example:
        >>> from edsl.theory.regret.conditions import moment_bound
        >>> round(moment_bound(0.9, 0.99), 3)
        2.345
    """
    b2 = Fraction(repr(float(beta2)))
    top, bottom = ((Fraction(1),), (Fraction(1),)) if reads is None else reads.over or ((), (Fraction(1),))
    top, bottom = multiply(top, (Fraction(0), 1 - b2)), multiply(bottom, (-b2, Fraction(1)))
    if not top:
        return math.inf
    shared = common_factor(bottom, top)
    top, bottom = quotient(top, shared), quotient(bottom, shared)
    if len(top) == len(bottom) == 1:
        return float(abs(top[0] / bottom[0])) / math.sqrt(1 - beta3)
    if beta3 <= 0 or radius_of(bottom) ** 2 >= beta3 * (1 - 1e-11):
        return math.inf
    root = math.sqrt(beta3)
    scaled = [[float(c) * root**power for power, c in enumerate(part)] for part in (top, bottom)]
    return math.sqrt(power_gain(*scaled) / (1 - beta3))


def schedule_condition(name: str, text: str, two_sided: bool, signed: bool = True) -> Condition:
    """√k times a schedule is bounded, for the learning rate from below too, at every k ≥ 1.

    Args:
        two_sided: it must stay above 0, also in the limit.
        signed: it may be negative, as E's α, unless it is two-sided.

    Raises:
        SpecError, EdslError: for a schedule that can't be read, or not be analysed.
    """
    schedule = read_schedule(text)
    if (k := schedule.undefined) is not None:
        return Condition(name, FAILS, None, f"{text} is no finite number at k = {k}")
    signed = signed and not two_sided
    if not signed and (k := schedule.negative) is not None:
        return Condition(name, FAILS, None, f"{text} is below 0 at k = {k}")
    if two_sided and (k := schedule.zero) is not None:
        return Condition(name, FAILS, None, f"{text} is 0 at k = {k}")
    limit = schedule.limit
    said = f"√k times {text} tends to {_shown(limit)}"
    if not limit.is_finite:
        return Condition(name, FAILS, math.inf, f"{said}: it falls more slowly than 1/√k")
    if not signed and limit < 0:
        return Condition(name, FAILS, float(limit), f"{said}: it is below 0 in the end")
    if two_sided and limit == 0:
        return Condition(name, FAILS, 0.0, f"{said}: it falls faster than 1/√k, and the steps end too soon")
    return Condition(name, HOLDS, abs(float(limit)), said)


def _shown(limit: Any) -> str:
    return "∞" if limit == sympy.oo else "−∞" if limit == -sympy.oo else f"{float(limit):g}"


def nonconvex_rate(beta3: float, eps1: float, bound: float = 1.0) -> Condition:
    """Theorem 1's μ = √(1−β₃) G∞/ε₁ ≤ 1; above it the rate is vacuous.

    Args:
        bound: G∞, the largest gradient entry.
    """
    mu = math.sqrt(1 - beta3) * bound / eps1 if eps1 > 0 else math.inf
    shown = f"{mu:.4g}" if math.isfinite(mu) else "∞"
    if mu <= 1:
        return Condition("Theorem 1: μ = √(1−β₃) G∞/ε₁ ≤ 1", HOLDS, mu, f"μ = {shown} for G∞ = {bound:g}")
    return Condition(
        "Theorem 1: μ = √(1−β₃) G∞/ε₁ ≤ 1", FAILS, mu, f"μ = {shown} for G∞ = {bound:g}: the rate is vacuous"
    )
