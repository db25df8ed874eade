"""`qhm`: plain gradient descent and momentum, averaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edsl.language.context import At, Value
from edsl.language.domain import DECAY, Number, field
from edsl.language.stage import BaseUpdate
from edsl.updates.moments import Momentum


@dataclass(frozen=True)
class Qhm(BaseUpdate):
    """Quasi-hyperbolic momentum: a share of the step is the momentum, the rest the newest gradient.

        d = u + λ θ
        m = μ m + (1−μ) d
        Δθ = −η ((1−ν) d + ν m)

    Source: Ma and Yarats 2019, eq. 3 and 4. E before plain gradient descent is this with μ = β₁ and
    ν = −α(1−β₁)/β₁: the linear twin that a race sets beside it.

    Args:
        lr: η ≥ 0.
        momentum: μ in [0, 1).
        nu: ν, the momentum's share; any number, in [0, 1] as published.
        weight_decay: λ ≥ 0, coupled (added to the gradient), 0 for spared parameters.

    Raises:
        EdslError: for a value outside its domain.

    Example:
        >>> import edsl
        >>> str(edsl.qhm(lr=0.1))
        'qhm(lr=0.1, momentum=0.999, nu=0.7, weight_decay=0)'
    """

    name: ClassVar[str] = "qhm"
    lr: float = field(0.1, Number(0), "η")
    momentum: float = field(0.999, DECAY, "μ")
    nu: float = field(0.7, Number(), "ν")
    weight_decay: float = field(0.0, Number(0), "λ", spared=0.0)

    def init(self, zero: Value) -> Momentum:
        return Momentum(zero)

    def step(self, x: Value, memory: Momentum, at: At) -> tuple[Value, Momentum]:
        d = x + self.weight_decay * at.theta
        m = self.momentum * memory.m + (1 - self.momentum) * d
        return -self.lr * ((1 - self.nu) * d + self.nu * m), Momentum(m)
