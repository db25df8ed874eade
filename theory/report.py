"""What the mathematics says of a pipeline, in plain values and one sentence: the text of the commands."""

from __future__ import annotations

import math
from typing import Any

from edsl.domain import plain
from edsl.errors import EdslError
from edsl.pipeline import Pipeline
from edsl.theory import closed_form

ENDS = {
    "flip": "an eigenvalue reaches −1 and the iterates alternate in sign",
    "hopf": "a complex pair reaches the unit circle and the iterates oscillate and grow",
    "fold": "an eigenvalue reaches +1 and the iterates run away",
    "none": "nothing ends it",
}
NEGATIVE = (
    "for negative curvature the recurrence is unstable for every alpha, as descent from a saddle must be; the paper's "
    "upper bound there comes from holding f′ constant"
)


def check_closed_form(
    alpha: float,
    beta1: float,
    beta2: float,
    momentum: str,
    lr: float | None = None,
    curvature: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Stability of E with a momentum behind it, by the closed forms.

    Args:
        momentum: "ema" (Adam, Lamb: κ = 1−β₂) or "sum" (the paper's E-SGD: κ = 1).
        lr, curvature: with both, stable means: every curvature in (0, high] converges. Without,
            it means: some step size does, and |α| is within the paper's bound.

    Raises:
        EdslError: for a value outside its domain.
    """
    for name, value in {"beta1": beta1, "beta2": beta2}.items():
        if not 0 <= value < 1:
            raise EdslError(f"{name} must lie in [0, 1), got {plain(value)}")
    if not math.isfinite(alpha):
        raise EdslError(f"alpha must be a finite number, got {alpha}")
    _check_range(lr, curvature)
    kappa = 1 - beta2 if momentum == "ema" else 1.0
    gamma = alpha * (1 - beta1)
    flip = float(closed_form.flip(gamma, beta1, beta2, kappa))
    hopf = float(closed_form.hopf(gamma, beta1, beta2, kappa))
    best_alpha, best_sharpness = closed_form.best(beta1, beta2, kappa)
    report = _report(alpha, beta1, beta2, kappa, min(flip, hopf), _limit(flip, hopf), lr, curvature)
    report.update(
        momentum=momentum,
        flip=_finite(flip),
        hopf=_finite(hopf),
        cliff=closed_form.cliff(beta1, beta2),
        distance_to_cliff=alpha - closed_form.cliff(beta1, beta2),
        best={"alpha": best_alpha, "stable_sharpness": best_sharpness},
    )
    return report


def check_pipeline(pipeline: Pipeline, curvature: tuple[float, float] | None = None) -> dict[str, Any]:
    """Stability of any linear pipeline, by the exact boundaries of its own recurrence.

    Raises:
        NotLinear: for a stage that has no linear model, by name.
    """
    from edsl.theory import stability  # sympy with it, which the closed forms do without
    from edsl.theory.linearise import linearise

    values = pipeline.hyperparameters
    lr = float(values.get("lr", 1.0))
    _check_range(None, curvature)
    symbolic = linearise(pipeline)
    system = symbolic.at()
    interval = stability.positive_interval(stability.stable_intervals(system))
    averages = pipeline.update.averages
    alpha, beta1 = (values.get("alpha"), values.get("beta1")) if averages else (None, None)
    beta2 = values.get("beta2", values.get("momentum", 0.0))
    sharpness = math.inf if math.isinf(interval.high) else lr * interval.high
    kappa = 1 - beta2 if averages == "ema" else 1.0
    report = _report(alpha, beta1, beta2, kappa, sharpness, interval.limited_by, lr, curvature)
    at = curvature[1] if curvature else (interval.high / 2 if math.isfinite(interval.high) else 1.0)
    numbers = system.at(h=at)
    report.update(
        spec=str(pipeline),
        lr=lr,
        stable_curvatures=[interval.low, _finite(interval.high)],
        radius={"curvature": at, "minimal": stability.minimal_radius(numbers), "full": stability.radius_of(system)(at)},
        notes=list(symbolic.notes),
    )
    return report


def _report(
    alpha: float | None,
    beta1: float | None,
    beta2: float,
    kappa: float,
    sharpness: float,
    limited_by: str,
    lr: float | None,
    curvature: tuple[float, float] | None,
) -> dict[str, Any]:
    largest = lr * max(curvature[1], 0.0) if lr is not None and curvature is not None else None
    exact = largest < sharpness if largest is not None else sharpness > 0
    bound = within = interval = models = None
    if alpha is not None and beta1 is not None:
        bound = closed_form.simple_bound(beta1)
        within = abs(alpha) < bound
        if lr is not None and curvature is not None:
            interval = [_finite(end) for end in closed_form.ode_interval(lr, curvature, beta1, beta2, kappa)]
        if largest:
            models = {
                model: float(closed_form.lower_bound(model, largest, beta1, beta2, kappa)) / (1 - beta1)
                for model in ("frozen", "ode", "exact")
            }
    report: dict[str, Any] = {
        "alpha": alpha,
        "beta1": beta1,
        "beta2": beta2,
        "simple_bound": bound,
        "within_simple_bound": within,
        "ode_interval": interval,
        "lower_bounds_on_alpha": models,
        "stable_sharpness": _finite(sharpness),
        "limited_by": limited_by,
        "largest_s": largest,
        "stable": bool(exact and (largest is not None or within is not False)),
    }
    report["disagreements"] = _disagreements(report, exact, alpha, curvature)
    report["verdict"] = _verdict(report, sharpness, exact)
    return report


def _disagreements(
    report: dict[str, Any], exact: bool, alpha: float | None, curvature: tuple[float, float] | None
) -> list[str]:
    said = []
    does = "the recurrence converges" if exact else "the recurrence diverges"
    within, interval = report["within_simple_bound"], report["ode_interval"]
    if within is not None and within != exact and curvature is not None:
        said.append(
            f"the paper's bound |alpha| < {report['simple_bound']:.6g} {_judges(within)} this, and {does}: "
            "the bound looks at the gain of one step alone, not at step size, curvature or momentum"
        )
    if interval is not None and alpha is not None:
        low = -math.inf if interval[0] is None else interval[0]
        if (alpha > low) != exact:
            said.append(
                f"the paper's ODE bound alpha > {low:.6g} {_judges(alpha > low)} this, and {does}: "
                "the ODE holds f′ and f″ constant and has no flip"
            )
    if curvature is not None and curvature[0] < 0:
        said.append(NEGATIVE)
    return said


def _judges(accepts: bool) -> str:
    return "accepts" if accepts else "rejects"


def _verdict(report: dict[str, Any], sharpness: float, exact: bool) -> str:
    limit = "any lr · curvature" if math.isinf(sharpness) else f"lr · curvature < {sharpness:.6g}"
    end = f", where {ENDS[report['limited_by']]}" if report["limited_by"] != "none" else ""
    if report["largest_s"] is not None:
        side = "below" if exact else "not below"
        shown = "∞" if math.isinf(sharpness) else f"{sharpness:.6g}"
        word = "Stable" if exact else "Not stable"
        return f"{word}: lr · curvature reaches {report['largest_s']:.6g}, {side} the stable sharpness {shown}{end}."
    if report["stable"]:
        return f"Stable for {limit}{end}."
    return (
        f"Not stable by the paper's bound |alpha| < {report['simple_bound']:.6g}, though the recurrence converges for "
        f"{limit}{end}."
    )


def _limit(flip: float, hopf: float) -> str:
    if math.isinf(flip) and math.isinf(hopf):
        return "none"
    return "hopf" if hopf < flip else "flip"


def _check_range(lr: float | None, curvature: tuple[float, float] | None) -> None:
    if lr is not None and not (math.isfinite(lr) and lr > 0):
        raise EdslError(f"lr must be a number above 0, got {lr}")
    if curvature is not None and curvature[0] > curvature[1]:
        raise EdslError(f"curvature must be LOW:HIGH with LOW ≤ HIGH, got {curvature[0]:g}:{curvature[1]:g}")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
