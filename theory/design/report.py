"""The best hyper-parameters of a pipeline for a spectrum, beside what is possible, in plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edsl.language.pipeline import Pipeline
from edsl.theory.design.guaranteed import Guarantee
from edsl.theory.design.objective import Objective
from edsl.theory.design.search import best_values, free_names
from edsl.theory.stability.conditions import PLAIN, Gradients, check_spectrum
from edsl.theory.systems.exploration import places_of_e, without_e
from edsl.theory.text.figure import figure

_MATTERS = 0.005  # of the steps a digit takes: less is within what the search finds

KINDS = {"rate": Objective, "certified": Guarantee}  # what is made smallest


def design(
    pipeline: Pipeline,
    spectrum: tuple[float, float],
    over: Sequence[str] = (),
    gradients: Gradients = PLAIN,
    of: str = "rate",
) -> dict[str, Any]:
    """Search the hyper-parameters that make the worst rate over a spectrum smallest; again without E.

    Args:
        spectrum: the least and the largest curvature, above 0. over: what may vary; all that matters by default.
        of: "rate", of quadratics, or "certified", of every f whose curvatures lie in the spectrum.

    Raises:
        EdslError: for a spectrum that is none, and unknown names.
        NotLinear: for a stage that has no linear model, by name.
    """
    gradients.check()
    check_spectrum(spectrum)
    low, high = spectrum
    names = free_names(pipeline, over)
    objective = KINDS[of](pipeline, names, spectrum, gradients)
    if isinstance(objective, Guarantee):
        objective.check()
    own = {name: float(pipeline.hyperparameters[name]) for name in names}
    found = _row(objective, best_values(objective))
    report: dict[str, Any] = {
        "spec": pipeline.line,
        "of": of,
        "spectrum": [low, high],
        "condition": high / low,
        "delay": gradients.delay,
        "batch_noise": gradients.noise,
        "period": objective.period,
        "over": list(names),
        "own": _row(objective, own),
        "best": found,
        "without_e": None,
        "notes": list(dict.fromkeys(note for phase in objective.phases for note in phase.system.notes)),
        "limits": None if not gradients.are_plain else KNOWN[of](high / low),
    }
    if places := places_of_e(pipeline):
        report["without_e"] = _without_e(pipeline, places, names, objective)
    report["verdict"] = _verdict(report)
    return report


def limits(condition: float) -> dict[str, float]:
    """The worst rates that are possible on quadratics of a condition κ.

    Gradient descent at its best: (κ−1)/(κ+1). Polyak's heavy ball: (√κ−1)/(√κ+1), below which no method that
    does the same at every step is, and which Chebyshev's polynomials reach in the limit of many steps
    (Polyak 1964; Golub and Varga 1961; Arjevani, Shalev-Shwartz and Shamir 2016).
    """
    root = math.sqrt(condition)
    return {
        "gradient descent": (condition - 1) / (condition + 1),
        "Polyak's heavy ball": (root - 1) / (root + 1),
        "Chebyshev, 100 steps": _chebyshev(condition, 100),
    }


def _chebyshev(condition: float, steps: int) -> float:
    """Chebyshev's polynomial's own worst reduction in so many steps, a step: 2qᵏ/(1+q²ᵏ), q Polyak's rate."""
    q = (math.sqrt(condition) - 1) / (math.sqrt(condition) + 1)
    return (2 * q**steps / (1 + q ** (2 * steps))) ** (1 / steps)


def certified_limits(condition: float) -> dict[str, float]:
    """The worst rates that are possible on smooth strongly convex functions of a condition κ.

    Gradient descent at its best: (κ−1)/(κ+1). The triple momentum method: 1 − 1/√κ, below which no first-order
    method is in the long run (Van Scoy, Freeman and Lynch 2018; Taylor and Drori 2023).
    """
    return {
        "gradient descent": (condition - 1) / (condition + 1),
        "triple momentum": 1 - 1 / math.sqrt(condition),
    }


KNOWN = {"rate": limits, "certified": certified_limits}


def _without_e(pipeline: Pipeline, places: Sequence[int], names: Sequence[str], objective: Objective) -> Any:
    bare = without_e(pipeline)
    left = tuple(name for name in names if pipeline.keys[name][0] not in places)
    renamed = {name: _same_field(pipeline, bare, name, places) for name in left}
    if not renamed:
        return None
    other = type(objective)(bare, tuple(renamed.values()), objective.spectrum, objective.gradients)
    return _row(other, best_values(other))


def _same_field(pipeline: Pipeline, bare: Pipeline, name: str, places: Sequence[int]) -> str:
    """The key, in the pipeline without E, of what a key of the pipeline names."""
    index, field = pipeline.keys[name]
    own = index - sum(place < index for place in places)
    return next(key for key, place in bare.keys.items() if place == (own, field))


def _row(objective: Objective, values: dict[str, float]) -> dict[str, Any]:
    rate, where = objective.settled(values)
    return {"rate": rate, "at": where, "steps_per_digit": _steps(rate), "values": values}


def _steps(rate: float) -> float | None:
    """How many steps divide the distance by ten."""
    return math.log(10) / -math.log(rate) if 0 < rate < 1 else None


def _verdict(report: dict[str, Any]) -> str:
    best, bare = report["best"], report["without_e"]
    is_certified = report["of"] == "certified"
    if best["rate"] >= 1:
        sought = "convergence is certified" if is_certified else "it converges on all of this spectrum"
        return f"No values were found with which {sought}."
    kind, steps = "certified" if is_certified else "worst", figure(best["steps_per_digit"])
    said = f"Best {kind} rate found: {figure(best['rate'])} a step, {steps} steps a digit."
    if bare is None:
        return said
    if bare["rate"] >= 1:
        return f"{said} Without E none was found that {'is certified' if is_certified else 'converges'}."
    ratio = best["steps_per_digit"] / bare["steps_per_digit"]
    if abs(ratio - 1) < _MATTERS:
        return f"{said} E gains nothing here: without it the same search finds {figure(bare['rate'])}."
    side = "fewer" if ratio < 1 else "more"
    return f"{said} With E it takes {abs(1 - ratio):.1%} {side} steps than the same search finds without it."
