"""The momentum of a base update, read from its own step: m_k = β m_{k−1} + κ x_k, x what the adaptors hand on."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy

from edsl.errors import EdslError
from edsl.language.pipeline import Pipeline
from edsl.theory.systems.linearise import OWN_THETA, LinearAt, exact, live_names

INCOMING, RAW = sympy.Symbol("x"), sympy.Symbol("g")


@dataclass(frozen=True)
class Average:
    """A buffer that averages: m_k = decay · m_{k−1} + gain · x_k, and no more.

    Attributes:
        leads: whether what steps is this buffer alone, scaled; not so for Nesterov or QHM.
    """

    buffer: str
    decay: Fraction
    gain: Fraction
    leads: bool


class _UnreadAt(LinearAt):
    """Where functions stay as they are, so that only averages are looked for; roots are frozen."""

    @property
    def total_norm(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return sympy.Symbol("total_norm", positive=True)

    def norm(self, x: Any) -> Any:
        return self.function("norm")  # a scalar, whatever it is of

    def ratio(self, x: Any, y: Any, where: Any = None) -> Any:
        return self.function("ratio")

    def function(self, name: str, *arguments: Any) -> Any:
        return sympy.Function(name)(*(x for x in arguments if isinstance(x, (int, float, sympy.Basic))))


def averages(pipeline: Pipeline) -> tuple[Average, ...]:
    """The base update's averages of what the adaptors hand on; none of another package's optimizer."""
    found = []
    out, old, new = _step(pipeline)
    for before, after in zip(old, new):
        decay, gain = after.diff(before), after.diff(INCOMING)
        if not (decay.is_Rational and gain.is_Rational and 0 < decay < 1 and gain != 0):
            continue
        if sympy.expand(after - decay * before - gain * INCOMING) == 0 and out.has(before):
            at_m = sympy.expand(out.subs(before, (before - gain * INCOMING) / decay))
            found.append(
                Average(
                    str(before),
                    Fraction(int(decay.p), int(decay.q)),
                    Fraction(int(gain.p), int(gain.q)),
                    not at_m.has(INCOMING),
                )
            )
    return tuple(found)


def reads_adaptors(pipeline: Pipeline, decay: Fraction) -> bool:
    """Whether a buffer of this decay takes in what the adaptors hand on, at once, rather than the raw gradient."""
    _, old, new = _step(pipeline)
    own = [after for before, after in zip(old, new) if after.diff(before) == exact(decay)]
    return not own or any(after.has(INCOMING) for after in own)


def _step(pipeline: Pipeline) -> tuple[Any, Any, Any]:
    """The update's step on symbols: (out, old memory, new memory); nothing where it can't be run."""
    stage, index = pipeline.update, pipeline.update_index
    numbers = {field: exact(pipeline.hyperparameters[key]) for field, key in live_names(pipeline, index).items()}
    at = _UnreadAt(stage, numbers.get("lr", 1), ())
    at.gradient = RAW
    at.theta = OWN_THETA
    kind: Any = type(stage.init(0.0))
    old = kind(*[sympy.Symbol(name) for name in kind._fields])
    try:
        out, new = stage.bind(numbers).step(INCOMING, old, at)
        return sympy.sympify(out), old, kind(*map(sympy.sympify, new))
    except (
        EdslError,
        TypeError,
        AttributeError,
        ValueError,
    ):  # another package's, or a plugin's that symbols can't pass
        return sympy.Integer(0), (), ()
