"""What is certified of a pipeline, in plain values and one sentence: the text of `edsl certify`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edsl.errors import EdslError
from edsl.language.domain import plain
from edsl.language.pipeline import Pipeline
from edsl.theory.certificates.certificate import Certificate, best_rate, certified_rate, converges, largest_certified
from edsl.theory.certificates.cycle import LONGEST, Cycle, cycle_at, first_cycle
from edsl.theory.certificates.saturation import CLAMPED, without_clamp
from edsl.theory.stability.conditions import check_condition
from edsl.theory.stability.intervals import from_zero, stable_intervals
from edsl.theory.systems.loop import Loop, loop_of_system
from edsl.theory.systems.state_space import StateSpace, of_pipeline
from edsl.theory.text.figure import figure

_BEYOND = (1.01, 1.03, 1.1, 1.2, 1.4, 1.7, 2.0)  # of the first cycle's L: where one may attract that is shown


@dataclass(frozen=True)
class Certified:
    """What holds for all f with curvatures in [L/κ, L], and where something fails. All in units of curvature, L.

    Attributes:
        quadratic: the largest stable L of quadratics, 0 for none, ∞ for no end.
        certified: the largest L that is certified, with all below.
        here: at the pipeline's own L: whether it converges, at which rate if one is shown, and the cycle there.
        best: the smallest certified rate over L.
        first: the cycle at the smallest L, below the quadratic's end.
        shown: the cycle that is described and run: the one here, or one close above the first.
    """

    pipeline: Pipeline
    system: StateSpace
    condition: float
    smoothness: float
    quadratic: float
    certified: float
    here: bool
    rate_here: Certificate | None
    cycle_here: Cycle | None
    best: Certificate | None
    first: Cycle | None
    shown: Cycle | None
    is_clamped: bool = False

    @property
    def lr(self) -> float:
        return float(self.pipeline.hyperparameters.get("lr", 1.0))


def certify(pipeline: Pipeline, condition: float, smoothness: float = 1.0) -> Certified:
    """Search certificates and cycles for a pipeline, at its own lr.

    Args:
        condition: κ = L/m > 1. smoothness: L > 0, at which the verdict is.

    Raises:
        NotLinear: for a stage that has no linear model and no sector, by name.
        EdslError: for numbers outside their domains, and a pipeline that does not move.
    """
    check_condition(condition)
    if not (math.isfinite(smoothness) and smoothness > 0):
        raise EdslError(f"--smoothness must be a number above 0, got {plain(smoothness)}")
    linear = without_clamp(pipeline)
    system = of_pipeline(linear)
    loop = loop_of_system(system)
    if not loop.gain:
        raise EdslError("nothing to certify: the gradient does not move θ" + _why_still(pipeline))
    is_clamped = linear is not pipeline
    kappa = math.inf if is_clamped else condition
    near = from_zero(stable_intervals(loop))
    quadratic = 0.0 if near is None else near.high
    top = min(quadratic, 1e6 * smoothness) if near is not None else 0.0
    certified = largest_certified(loop, kappa, top) if top > 0 else 0.0
    here = smoothness < quadratic and converges(loop, kappa, smoothness)
    cycles = (
        _cycles(loop, system, condition, smoothness, quadratic) if top > 0 and not is_clamped else (None, None, None)
    )
    return Certified(
        pipeline,
        system,
        condition,
        smoothness,
        quadratic,
        certified,
        here,
        certified_rate(loop, condition, smoothness) if here and not is_clamped else None,
        cycles[0],
        best_rate(loop, condition, certified) if not is_clamped else None,
        *cycles[1:],
        is_clamped=is_clamped,
    )


def describe(found: Certified) -> dict[str, Any]:
    """The values of `edsl certify --json`, in units of s = lr · L."""
    lr = found.lr
    unit = lr if lr else 1.0

    def sharpness(L: float | None) -> float | None:
        return None if L is None or math.isinf(L) else unit * L

    first, shown, best = found.first, found.shown, found.best
    return {
        "spec": found.pipeline.line,
        "lr": lr,
        "condition": found.condition,
        "smoothness": found.smoothness,
        "s": unit * found.smoothness,
        "certified": found.here,
        "is_clamped": found.is_clamped,
        "stable_sharpness": sharpness(found.quadratic),
        "certified_sharpness": sharpness(found.certified),
        "cycle_sharpness": None if first is None else sharpness(first.curvature),
        "gap": None if first is None or not found.certified else first.curvature / found.certified - 1,
        "rate": None if best is None else best.rate,
        "rate_sharpness": None if best is None else sharpness(best.curvature),
        "rate_here": None if found.rate_here is None else found.rate_here.rate,
        "cycle_here": found.cycle_here is not None,
        "cycle": None if shown is None else _of_cycle(shown, unit),
        "verdict": _verdict(found, unit),
        "notes": _notes(found),
    }


def _cycles(
    loop: Loop, system: StateSpace, condition: float, L: float, quadratic: float
) -> tuple[Cycle | None, Cycle | None, Cycle | None]:
    """The cycle at L, the first of all, and the one that is shown."""
    first = first_cycle(loop, condition)
    if first is None or first.curvature >= quadratic * (1 - 1e-9):  # there quadratics fail already
        return None, None, None
    here = cycle_at(loop, system, condition, L) if quadratic > L else None
    if here is not None:
        return here, first, here
    places = [first.curvature * factor for factor in _BEYOND if first.curvature * factor < quadratic]
    others = [cycle for place in places if (cycle := cycle_at(loop, system, condition, place)) is not None]
    return None, first, next((cycle for cycle in others if cycle.attracts), others[0] if others else first)


def _of_cycle(cycle: Cycle, unit: float) -> dict[str, Any]:
    vertex = cycle.vertex
    return {
        "period": cycle.period,
        "turns": cycle.turns,
        "sharpness": unit * cycle.curvature,
        "attracts": cycle.attracts,
        "vertex": [vertex.real, vertex.imag],
        "gradient": [cycle.gradient.real, cycle.gradient.imag],
    }


def _verdict(found: Certified, unit: float) -> str:
    s, kappa = figure(unit * found.smoothness), figure(found.condition)
    every = f"every f that is smooth and strongly convex of condition {kappa}"
    if found.is_clamped:
        every = "every sum over coordinates of smooth, strongly convex functions"
    model = ", of the linear model that the notes describe" if found.system.notes else ""
    if found.here:
        rate = "" if found.rate_here is None else f", at the rate {figure(found.rate_here.rate)} a step or faster"
        return f"Certified: with s = lr · L = {s} it converges on {every}{rate}{model}."
    if found.smoothness >= found.quadratic:
        return f"Not stable: with s = lr · L = {s} it does not even converge on a quadratic of this curvature."
    if found.cycle_here is not None:
        cycle = found.cycle_here
        ends = "from 1 % beside it, too" if cycle.attracts else "from beside it, that is not known"
        return (
            f"Not certified: with s = lr · L = {s} an f of condition {kappa} exists on which it cycles for ever, "
            f"with period {cycle.period}; {ends}{model}."
        )
    return f"Unproven: with s = lr · L = {s} neither a certificate nor a cycle of up to {LONGEST} steps was found."


def _notes(found: Certified) -> list[str]:
    notes = [*found.system.notes, *found.system.transients]
    if found.is_clamped:
        notes.append(CLAMPED)
    own = found.pipeline.hyperparameters
    if any(value and name.rpartition(".")[2] in ("weight_decay", "rate") for name, value in own.items()):
        notes.append("it converges to the minimiser of f with its weight decay, and decay is scaled by the own lr")
    return notes


def _why_still(pipeline: Pipeline) -> str:
    return ", since lr is 0" if pipeline.hyperparameters.get("lr") == 0 else ""
