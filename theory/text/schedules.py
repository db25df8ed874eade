"""A schedule as a formula in k and T."""

from __future__ import annotations

from typing import Any

import sympy

from edsl.errors import EdslError
from edsl.language.pipeline import Pipeline
from edsl.language.schedules.schedule import Schedule

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
        1.0*Max(1, k)**(-2.0)
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
    """A pipeline with the numbers of one step, or the largest of each schedule, where it has schedules."""
    if step is not None and step < 1:
        raise EdslError(f"--step must be at least 1, got {step}")
    if step is None:
        return pipeline.unscheduled(lambda schedule: max(schedule.extremes, key=abs))
    for key, value in pipeline.schedules.items():
        value.schedule.check_total(None, key)
    return pipeline.unscheduled(lambda schedule: schedule.at(step))


def check_constant(pipeline: Pipeline, what: str) -> None:
    """Raises EdslError where a number follows a schedule, for what is about constant ones."""
    for key, value in pipeline.schedules.items():
        raise EdslError(f"{what} is about constant hyper-parameters, got {key}={value}; write its value of some step")


def as_equation(key: str, schedule: Schedule) -> str:
    """A schedule as an equation in k and T."""
    return f"{key} = {formula_of(schedule)}"
