"""`ema_weights`: averaged weights to evaluate with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from edsl.language.context import At, Value
from edsl.language.domain import DECAY, field
from edsl.language.stage import Wrapper


class AverageWeights(NamedTuple):
    """The averaged weights."""

    average: Value


@dataclass(frozen=True)
class EmaWeights(Wrapper):
    """An average of the weights over the last steps, for evaluation; training continues with the weights themselves.

        θ̄₁ = θ₁,   θ̄_k = d θ̄_{k−1} + (1−d) θ_k

    Source: Polyak and Juditsky 1992; as an EMA, Tarvainen and Valpola 2017, eq. 1. Evaluate inside
    `with optimizer.evaluation_weights():`, which puts θ̄ into the parameters and θ back after.

    Args:
        decay: d in [0, 1).

    Raises:
        EdslError: for a value outside its domain.

    Example:
        >>> import edsl
        >>> str(edsl.parse("adamw(lr=0.001) | ema_weights(decay=0.99)")).split(" | ")[-1]
        'ema_weights(decay=0.99)'
    """

    name: ClassVar[str] = "ema_weights"
    decay: float = field(0.999, DECAY, "d")

    @property
    def evaluation_buffer(self) -> str:
        return "average"

    def init(self, zero: Value) -> AverageWeights:
        return AverageWeights(zero)

    def step(self, x: Value, memory: AverageWeights, at: At) -> tuple[Value, AverageWeights]:
        theta = at.theta + x
        return x, AverageWeights(at.first(theta, self.decay * memory.average + (1 - self.decay) * theta))
