"""What the mathematics says of stability, in plain values and one sentence: the text of the commands."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from edsl.errors import EdslError
from edsl.language.domain import plain
from edsl.language.pipeline import Pipeline
from edsl.theory.stability import closed_form
from edsl.theory.stability.conditions import PLAIN, Gradients, Stability, delayed_e, stability_of

if TYPE_CHECKING:
    from edsl.theory.stability.intervals import Interval
    from edsl.theory.systems.exploration import EInLoop
from edsl.theory.text.figure import figure

ENDS = {
    "flip": "an eigenvalue reaches −1 and the iterates alternate in sign",
    "hopf": "a complex pair reaches the unit circle and the iterates oscillate and grow",
    "fold": "an eigenvalue reaches +1 and the iterates run away",
    "noise": "the second moment stops decaying, although the mean still converges",
    "none": "nothing ends it",
}
NEGATIVE = (
    "for negative curvature the recurrence is unstable for every alpha, as descent from a saddle must be; the paper's "
    "upper bound there comes from holding f′ constant"
)
_MOST_ALPHA = 1e100


def check_closed_form(
    alpha: float,
    beta1: float,
    beta2: float,
    momentum: str,
    lr: float | None = None,
    curvature: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Stability of E with a momentum behind it and no weight decay, by the closed forms.

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
    if abs(alpha) > _MOST_ALPHA:
        raise EdslError(f"alpha must lie within ±{_MOST_ALPHA:g}, got {plain(alpha)}")
    _check_range(lr, curvature)
    a, b1, b2 = (Fraction(repr(float(value))) for value in (alpha, beta1, beta2))
    kappa = 1 - b2 if momentum == "ema" else Fraction(1)
    letters = [float(value) for value in (a * (1 - b1), b1, b2, kappa)]
    flip, hopf = float(closed_form.flip(*letters)), float(closed_form.hopf(*letters))
    limited_by = "none" if math.isinf(min(flip, hopf)) else "hopf" if hopf < flip else "flip"
    step = 1.0 if lr is None else lr
    stable = [(0.0, min(flip, hopf) / step, limited_by)]
    report = {
        **_paper(a, b1, (b2, kappa), lr, curvature),
        **_judged(stable, step, curvature, _within(a, b1)),
        "momentum": momentum,
        "flip": _finite(flip),
        "hopf": _finite(hopf),
        "cliff": float(closed_form.cliff(b1, b2)) + 0.0,
        "distance_to_cliff": float(a - closed_form.cliff(b1, b2)) + 0.0,
        "best": dict(zip(("alpha", "stable_sharpness"), (float(x) + 0.0 for x in closed_form.best(b1, b2, kappa)))),
    }
    report["alpha_range"] = _alpha_without_hopf(report, b1, b2, kappa)
    report["disagreements"] = _disagreements(report, stable, curvature, is_closed_form=True)
    return report


def check_pipeline(
    pipeline: Pipeline, curvature: tuple[float, float] | None = None, gradients: Gradients = PLAIN
) -> dict[str, Any]:
    """Stability of any linear pipeline, by the exact boundaries of its own recurrence.

    The paper's bounds on E with a momentum stand beside them only where the pipeline's loop is
    proved to be that, for every α, and its gradients are of the newest θ and of one curvature.

    Raises:
        NotLinear: for a stage that has no linear model, by name.
    """
    gradients.check()
    _check_range(None, curvature)
    lr = float(pipeline.hyperparameters.get("lr", 1.0))
    whole = stability_of(pipeline, gradients)
    loop, found = whole.loop, whole.intervals
    stable = [(float(one.low), float(one.high), one.limited_by) for one in found]
    e = None if loop is None else _e_of(pipeline, gradients)
    momentum = None if e is None or e.momentum is None else (e.momentum.beta2, e.momentum.kappa)
    alpha, beta1 = (e.alpha, e.beta1) if e is not None and e.moves else (None, None)
    why = "" if loop is None or loop.gain else _why_still(lr)
    report = {
        "spec": pipeline.line,
        "lr": lr,
        **_paper(alpha, beta1, momentum, lr, curvature),
        **_judged(stable, lr, curvature, _within(alpha, beta1), why, _for_every_lr(pipeline, found, gradients)),
        "stable_ranges": [[_finite(low), _finite(high)] for low, high, _ in stable],
        "delay": gradients.delay,
        "batch_noise": gradients.noise,
        "period": whole.period,
    }
    if gradients.said:
        report["verdict"] += f" This is {gradients.said}."
    near = next((one for one in stable if one[0] <= 0 < one[1]), None)
    report["stable_curvatures"] = None if near is None else [_finite(near[0]), _finite(near[1])]
    report["alpha_range"] = None if e is None or alpha is None or gradients.noise else _alpha_range(e, curvature)
    report |= _at_one_curvature(whole, curvature, near, gradients)
    report["disagreements"] = _disagreements(report, stable, curvature, momentum is not None)
    notes = list(whole.notes)
    if e is not None and not e.moves:
        notes.append("e: alpha does not enter this linear recurrence: E does not reach the direction of the step")
    report["notes"] = notes
    return report


def check_e_with_momentum(
    alpha: float,
    beta1: float,
    beta2: float,
    momentum: str,
    lr: float | None,
    curvature: tuple[float, float] | None,
    gradients: Gradients,
) -> dict[str, Any]:
    """The same as `check_closed_form`, by the recurrence, for gradients that no closed form is known for."""
    from edsl.language.registry.build import build

    check_closed_form(alpha, beta1, beta2, momentum, lr, curvature)  # which sees to the values
    e = build("e", {"alpha": alpha, "beta1": beta1, "unchecked": True})
    update = build("sgd", {"lr": 1.0 if lr is None else lr, "momentum": beta2, "average": momentum})
    report = check_pipeline(Pipeline((build("grad", {}), e, update)), curvature, gradients)
    within = _within(*(Fraction(repr(float(value))) for value in (alpha, beta1)))
    paper = {"alpha": alpha, "beta1": beta1, "beta2": beta2, "simple_bound": closed_form.simple_bound(beta1)}
    none = dict.fromkeys(("flip", "hopf", "cliff", "distance_to_cliff", "best"))
    return {**report, **paper, "within_simple_bound": within, "momentum": momentum, **none}


def _e_of(pipeline: Pipeline, gradients: Gradients) -> EInLoop | None:
    from edsl.theory.systems.exploration import e_in_loop

    e = e_in_loop(pipeline)
    if e is None or gradients.are_plain:
        return e
    return replace(delayed_e(e, gradients.delay), momentum=None)


def _at_one_curvature(
    whole: Stability,
    curvature: tuple[float, float] | None,
    near: tuple[float, float, str] | None,
    gradients: Gradients,
) -> dict[str, Any]:
    """Radii at the highest curvature that is asked for, or in the middle of those that converge."""
    at = curvature[1] if curvature else near[1] / 2 if near is not None and math.isfinite(near[1]) else 1.0
    minimal, full = whole.radius(at)
    largest = whole.largest_noise(at) if at > 0 else None
    return {
        "radius": {"curvature": at, "minimal": minimal, "full": full},
        "mean_square_radius": whole.mean_square(at) if gradients.noise and at > 0 else None,
        "largest_noise": None if largest is None else _finite(largest),
        "steady_variance": whole.variance(at),
    }


def _why_still(lr: float) -> str:
    return "lr is 0, so nothing moves" if lr == 0 else "the gradient does not reach θ"


def _paper(
    alpha: Fraction | None,
    beta1: Fraction | None,
    momentum: tuple[Fraction, Fraction] | None,
    lr: float | None,
    curvature: tuple[float, float] | None,
) -> dict[str, Any]:
    """The paper's bounds, those of E with a momentum only where there is one."""
    bound = interval = models = None
    if alpha is not None and beta1 is not None:
        bound = 1 / (1 - beta1)
        if momentum is not None and lr and curvature is not None:
            beta2, kappa = momentum
            interval = [
                _finite(end)
                for end in closed_form.ode_interval(lr, curvature, *(float(x) for x in (beta1, beta2, kappa)))
            ]
            if curvature[1] > 0:
                s = Fraction(lr) * Fraction(curvature[1])
                models = {
                    model: float(closed_form.lower_bound(model, s, beta1, beta2, kappa) / (1 - beta1)) + 0.0
                    for model in ("frozen", "ode", "exact")
                }
    return {
        "alpha": None if alpha is None else float(alpha),
        "beta1": None if beta1 is None else float(beta1),
        "beta2": None if momentum is None else float(momentum[0]),
        "simple_bound": None if bound is None else float(bound),
        "within_simple_bound": _within(alpha, beta1),
        "ode_interval": interval,
        "lower_bounds_on_alpha": models,
    }


def _within(alpha: Fraction | None, beta1: Fraction | None) -> bool | None:
    return None if alpha is None or beta1 is None else abs(alpha) * (1 - beta1) < 1


def _alpha_without_hopf(report: dict[str, Any], beta1: Fraction, beta2: Fraction, kappa: Fraction) -> Any:
    """The exact α at the largest s: above the hopf bound, below the flip's 2(1+β₁)(1+β₂)/(κs) = 1+β₁+2γ."""
    models, s = report["lower_bounds_on_alpha"], report["largest_s"]
    if models is None:
        return None
    gamma = (2 * (1 + beta1) * (1 + beta2) / (kappa * Fraction(s)) - 1 - beta1) / 2
    return [models["exact"], float(gamma / (1 - beta1)) + 0.0]


def _alpha_range(e: EInLoop, curvature: tuple[float, float] | None) -> list[float | None] | None:
    """The values of α around its own with which the highest curvature converges, or nearest to it; None for none."""
    from edsl.theory.stability.intervals import stable_intervals

    if curvature is None:
        return None
    ranges = stable_intervals(e.over_alpha(Fraction(curvature[1])))
    if not ranges:
        return None
    own = float(e.alpha)
    nearest = min(ranges, key=lambda one: max(one.low - own, own - one.high))
    return [_finite(nearest.low), _finite(nearest.high)]


def _for_every_lr(pipeline: Pipeline, found: list[Interval], gradients: Gradients) -> bool:
    """Whether the pipeline converges at no curvature above 0, and another lr would only rescale curvature."""
    from edsl.theory.systems.loop import loop_of
    from edsl.theory.systems.polynomial import scale

    if any(one.high > 0 for one in found) or not pipeline.hyperparameters.get("lr") or not gradients.are_plain:
        return False
    one, two = (loop_of(pipeline, lr=Fraction(lr)) for lr in (1, 2))
    return one.free == two.free and two.gain == scale(one.gain, Fraction(2))


def _judged(
    stable: list[tuple[float, float, str]],
    lr: float,
    curvature: tuple[float, float] | None,
    within: bool | None,
    why: str = "",
    for_every_lr: bool = False,
) -> dict[str, Any]:
    """The verdict from the curvatures that converge, in order, each range with what ends it."""
    near = next((one for one in stable if one[0] <= 0 < one[1]), None)
    if near is not None and math.isinf(near[1]) and near[2] != "none":
        raise EdslError(f"lr = {plain(lr)} is too small: the largest stable curvature is beyond all floats")
    sharpness = 0.0 if near is None else lr * near[1]
    report: dict[str, Any] = {
        "stable_sharpness": _finite(sharpness),
        "limited_by": None if near is None else near[2],
        "largest_s": None if curvature is None or curvature[1] <= 0 else lr * curvature[1],
    }
    if near is None and (curvature is None or curvature[1] > 0):
        return {**report, "stable": False, "verdict": f"Not stable: {why or _nowhere(stable, for_every_lr)}."}
    end = "" if near is None or near[2] == "none" else f", where {ENDS[near[2]]}"
    if curvature is None:
        limit = "any lr · curvature" if math.isinf(sharpness) else f"lr · curvature < {figure(sharpness)}"
        if near is not None and near[0] < 0:
            limit += f", down to curvature {figure(near[0])}" if math.isfinite(near[0]) else ", and any below 0"
        if within is False:
            verdict = f"Not stable by the paper's bound on |alpha|, though the recurrence converges for {limit}{end}."
        else:
            verdict = f"Stable for {limit}{end}."
        return {**report, "stable": within is not False, "verdict": verdict}
    low, high = curvature
    if near is not None and high > 0:
        good = high < near[1]
        side = "below" if good else "not below"
        verdict = (
            f"lr · curvature reaches {figure(report['largest_s'])}, {side} the stable sharpness {figure(sharpness)}"
        )
        verdict = f"{'Stable' if good else 'Not stable'}: {verdict}{end}."
        if low < 0:
            below = _covered(stable, low, 0.0)
            own = "" if below == "none converges" else ", in this pipeline's own recurrence with its weight decay"
            verdict += f" Of the curvatures below 0, {below}{own}."
        return {**report, "stable": good, "verdict": verdict}
    good = any(one[0] < low and high < one[1] for one in stable)
    said = f"of the curvatures from {figure(low)} to {figure(high)}, {_covered(stable, low, high)}"
    return {**report, "stable": good, "verdict": f"{'Stable' if good else 'Not stable'}: {said}."}


def _nowhere(stable: list[tuple[float, float, str]], for_every_lr: bool) -> str:
    """What is said where small positive curvatures do not converge."""
    above = [one for one in stable if one[1] > 0]
    if for_every_lr:
        return "it converges at no curvature above 0, whatever lr is"
    if not above:
        below = f"; it does {_ranges(stable)}" if stable else ""
        return f"it converges at no curvature above 0 with these hyper-parameters{below}"
    return f"with these hyper-parameters it converges only {_ranges(stable)}, and not near curvature 0"


def _ranges(stable: list[tuple[float, float, str]]) -> str:
    return " and ".join(f"for {figure(low)} < curvature < {figure(high)}" for low, high, _ in stable)


def _covered(stable: list[tuple[float, float, str]], low: float, high: float) -> str:
    """Which part of [low, high] converges."""
    parts = [(max(low, one[0]), min(high, one[1])) for one in stable if one[0] < high and low < one[1]]
    if any(one[0] < low and high < one[1] for one in stable) or parts == [(low, high)]:
        return "all converge"
    if not parts:
        return "none converges"
    return " and ".join(f"those between {figure(a)} and {figure(b)}" for a, b in parts) + " alone converge"


def _disagreements(
    report: dict[str, Any],
    stable: list[tuple[float, float, str]],
    curvature: tuple[float, float] | None,
    is_closed_form: bool,
) -> list[str]:
    """Where the paper's bounds and the recurrence part, for a range of curvatures that reaches above 0."""
    said: list[str] = []
    if curvature is None:
        return said
    if curvature[1] > 0:
        does = "converges" if report["stable"] else _fails(report)
        within, interval = report["within_simple_bound"], report["ode_interval"]
        if within is not None and within != report["stable"]:
            said.append(
                f"the paper's bound |alpha| < {figure(report['simple_bound'])} {_judges(within)} this, and the "
                f"recurrence {does}: the bound looks at the gain of one step alone, not at step size, curvature or "
                "momentum"
            )
        if interval is not None:
            low = -math.inf if interval[0] is None else interval[0]
            if (report["alpha"] > low) != report["stable"]:
                said.append(
                    f"the paper's ODE bound alpha > {figure(low)} {_judges(report['alpha'] > low)} this, and the "
                    f"recurrence {does}: the ODE holds f′ and f″ constant and has no flip"
                )
    if curvature[0] < 0 and is_closed_form and not any(one[0] < 0 for one in stable):
        said.append(NEGATIVE)
    return said


def _fails(report: dict[str, Any]) -> str:
    on_the_edge = report["stable_sharpness"] is not None and report["largest_s"] == report["stable_sharpness"]
    return "does not converge" if on_the_edge else "diverges"


def _judges(accepts: bool) -> str:
    return "accepts" if accepts else "rejects"


def _check_range(lr: float | None, curvature: tuple[float, float] | None) -> None:
    if lr is not None and not (math.isfinite(lr) and lr > 0):
        raise EdslError(f"lr must be a number above 0, got {lr}")
    if curvature is not None and not all(map(math.isfinite, curvature)):
        raise EdslError(f"curvature must be LOW:HIGH of finite numbers, got {curvature[0]:g}:{curvature[1]:g}")
    if curvature is not None and curvature[0] > curvature[1]:
        raise EdslError(f"curvature must be LOW:HIGH with LOW ≤ HIGH, got {curvature[0]:g}:{curvature[1]:g}")


def _finite(value: float) -> float | None:
    return value + 0.0 if math.isfinite(value) else None
