"""`my_stage`: an adaptor of your own, between the gradient and the update: `edsl --plugin my_stage.py show my_stage`.

The same step runs on tensors, as native code and on symbols: take functions from `at`, change nothing in place, and
choose by `at.where` instead of `if`. An update subclasses BaseUpdate and returns Δθ, a wrapper subclasses Wrapper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from edsl.stage import DECAY, Adaptor, At, Value, field


class Mean(NamedTuple):
    """What is kept between steps: a buffer of the parameter's shape for each entry."""

    m: Value


@dataclass(frozen=True)
class MyStage(Adaptor):
    """The gradient's average, its bias corrected.

        m = β m + (1−β) u,   u = m/(1−βᵏ)

    Source: say where it is from, with the equation's number.

    Args:
        beta: β in [0, 1).
    """

    name: ClassVar[str] = "my_stage"
    beta: float = field(0.9, DECAY, "β")

    def init(self, zero: Value) -> Mean:
        return Mean(zero)

    def step(self, x: Value, memory: Mean, at: At) -> tuple[Value, Mean]:
        m = self.beta * memory.m + (1 - self.beta) * x
        return at.debias(m, self.beta), Mean(m)
