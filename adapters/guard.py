"""`guard`: what becomes of a step whose gradient is not finite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edsl.language.context import At, Value
from edsl.language.domain import Choice, field
from edsl.language.stage import Adaptor, NoMemory


@dataclass(frozen=True)
class Guard(Adaptor):
    """Skips, rejects or repairs steps whose gradients (or Hessian) are not finite, at any place in a pipeline.

        skip:   any element of any of them not finite: no step; parameters, state and k stay as they are
        raise:  the same, as an EdslError with the parameter's name
        zero:   u = g where finite, else 0

    How many steps it found is `nonfinite_steps` in each param group. It costs one pass over the
    gradients, and waits for the device once a step.

    Args:
        nonfinite: "skip", "raise" or "zero".

    Raises:
        EdslError: for another word.

    Example:
        >>> import edsl
        >>> str(edsl.guard(nonfinite="zero"))
        "guard(nonfinite='zero')"
    """

    name: ClassVar[str] = "guard"
    nonfinite: str = field("skip", Choice(("skip", "raise", "zero")))

    @property
    def nonfinite_policy(self) -> str:
        return self.nonfinite

    def step(self, x: Value, memory: NoMemory, at: At) -> tuple[Value, NoMemory]:
        return at.finite(x) if self.nonfinite == "zero" else x, memory
