"""A schedule as a formula in k and T."""

from __future__ import annotations

from typing import Any

import sympy

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
