"""A schedule as a formula in k and T."""

from __future__ import annotations

from typing import Any

import sympy

from edsl.errors import EdslError
from edsl.language.pipeline import Pipeline
from edsl.language.schedules.layerwise import Layerwise, Scale, check_same_for_all, scales_of, without_scales
from edsl.language.schedules.schedule import Schedule, Scheduled, plain

K, T = sympy.symbols("k T", positive=True)


class Symbols:
    """The functions of forms, for symbols."""

    pi = sympy.pi
    cos = staticmethod(sympy.cos)
    sqrt = staticmethod(sympy.sqrt)
    minimum = staticmethod(sympy.Min)
    maximum = staticmethod(sympy.Max)

    @staticmethod
    def where(condition: Any, x: Any, y: Any) -> Any:
        return sympy.Piecewise((x, condition), (y, True))


def formula_of(schedule: Schedule) -> Any:
    """The number at step k of T, in sympy.

    Example:
        >>> from edsl.language.schedules.reading import read_text
        >>> formula_of(read_text("power(1, exponent=2)"))
        1.0/Max(1, k)**2.0
    """
    return schedule.formula(K, T, Symbols)


def factor_of(schedule: Schedule) -> str | None:
    """The factor on its value for the steps to come, as `edsl check-regret` reads it; None where it ends at T.

    A warmup of finitely many steps and the constant w^p change no bound of the theorem, and are left out.
    """
    exponent = {"inverse_sqrt": 0.5, "power": schedule.arguments.get("exponent"), "constant": 0.0}.get(schedule.form)
    if exponent is None:
        return None
    floor = schedule.arguments["floor"]
    share = "1/sqrt(k)" if exponent == 0.5 else f"1/k**{exponent!r}" if exponent else "1"
    return f"{floor!r} + {1 - floor!r}*{share}" if floor else share


def at_step(pipeline: Pipeline, step: int | None) -> Pipeline:
    """A pipeline with the numbers of one step, or the largest of each schedule, in a layer whose factor is 1.

    Raises:
        EdslError: for a step below 1, or a schedule that needs the number of steps.
    """
    if step is not None and step < 1:
        raise EdslError(f"--step must be at least 1, got {step}")
    if step is None:
        return pipeline.unscheduled(lambda schedule: max(schedule.extremes, key=abs))
    for key, value in pipeline.schedules.items():
        value.schedule.check_total(None, key)
    return pipeline.unscheduled(lambda schedule: schedule.at(step))


def _varying(pipeline: Pipeline) -> dict[str, Any]:
    """What is on a schedule or differs from layer to layer, by its name, in the order of the text."""
    found = {**pipeline.schedules, **pipeline.layerwise}
    return {key: found[key] for key in pipeline.keys if key in found}


def taken_at(pipeline: Pipeline, step: int | None) -> list[str]:
    """What `at_step` took for each number on a schedule or of layers, in words."""
    said = []
    for key, value in _varying(pipeline).items():
        bare = without_scales(value)
        if isinstance(bare, Scheduled):
            number = max(bare.schedule.extremes, key=abs) if step is None else bare.schedule.at(step)
            largest = "its largest value" if number >= 0 else "its value furthest from 0"
            which = largest if step is None else f"its value at step {step}"
        else:
            number, which = float(bare), "its value"
        where = " in a layer of factor 1" if isinstance(value, Layerwise) else ""
        said.append(f"{key}={value}: {number:g} is taken, {which}{where}")
    return said


def check_constant(pipeline: Pipeline, what: str) -> None:
    """Raises EdslError where a number follows a schedule or differs from layer to layer, for what is of one number."""
    for key, value in pipeline.schedules.items():
        raise EdslError(f"{what} is about constant hyper-parameters, got {key}={value}; write its value of some step")
    check_same_for_all(pipeline.layerwise, what)


def as_equations(pipeline: Pipeline) -> list[str]:
    """The numbers on schedules and of layers as equations in k and T, the inputs n of a matrix, and layer l of L."""
    found = []
    for key, value in _varying(pipeline).items():
        bare, scales = without_scales(value), scales_of(value)
        inner = formula_of(bare.schedule) if isinstance(bare, Scheduled) else plain(bare)
        factors = [*filter(None, map(_factor, scales))]
        said = f"({inner})" if factors and isinstance(bare, Scheduled) else f"{inner}"
        found.append(" ".join([f"{key} =", " · ".join([said, *factors]), *[_LETTERS[s.form] for s in scales]]))
    return found


_LETTERS = {
    "width": "(n: inputs of a matrix; the factor of vectors and embeddings is 1)",
    "depth": "(layer l of 0 … L)",
}


def _factor(scale: Scale) -> str:
    given = dict(scale.given)
    if scale.form == "depth":
        return f"{plain(given['by'])}^(L − l)"
    share = f"({given['base']}/n)"
    return share if given["exponent"] == 1 else f"{share}^{plain(given['exponent'])}"
