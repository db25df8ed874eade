"""`lion`: the sign of an interpolated momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edsl.language.context import At, Value
from edsl.language.domain import DECAY, Number, field
from edsl.language.stage import BaseUpdate
from edsl.updates.moments import Momentum


@dataclass(frozen=True)
class Lion(BaseUpdate):
    """Every element steps by η, in the direction of a momentum that leans towards the newest gradient.

        c = β₂ m + (1−β₂) u,   m = β₃ m + (1−β₃) u
        Δθ = −η (sign(c) + λ θ)

    Source: Chen et al. 2023, Algorithm 2. Its learning rate is 3 to 10 times smaller than Adam's.

    Args:
        lr: η ≥ 0, the step of each element.
        betas: Lion's (β₁, β₂), of the interpolation and of the momentum, in [0, 1); kept as beta2 and beta3.
        weight_decay: λ ≥ 0, decoupled, 0 for spared parameters.

    Raises:
        EdslError: for a value outside its domain.

    Example:
        >>> import edsl
        >>> str(edsl.lion(lr=0.0001))
        'lion(lr=0.0001, beta2=0.9, beta3=0.99, weight_decay=0)'
    """

    name: ClassVar[str] = "lion"
    lr: float = field(1e-4, Number(0), "η")
    beta2: float = field(0.9, DECAY, "β₂")
    beta3: float = field(0.99, DECAY, "β₃")
    weight_decay: float = field(0.0, Number(0), "λ", spared=0.0)

    def init(self, zero: Value) -> Momentum:
        return Momentum(zero)

    def step(self, x: Value, memory: Momentum, at: At) -> tuple[Value, Momentum]:
        c = self.beta2 * memory.m + (1 - self.beta2) * x
        m = self.beta3 * memory.m + (1 - self.beta3) * x
        return -self.lr * (at.sign(c) + self.weight_decay * at.theta), Momentum(m)
