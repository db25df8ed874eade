"""`lars`: momentum with a step in proportion to each layer's norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edsl.language.context import At, Value
from edsl.language.domain import DECAY, Number, Switch, field
from edsl.language.stage import BaseUpdate
from edsl.updates.moments import Momentum


@dataclass(frozen=True)
class Lars(BaseUpdate):
    """Layerwise adaptive rates for gradient descent with momentum.

        d = (u + λ θ) · c ‖θ‖ / (‖u‖ + λ ‖θ‖ + ε₁),   norms over the layer
        m = μ m + d
        Δθ = −η m;   nesterov: Δθ = −η (d + μ m)

    Source: You, Gitman, Ginsburg 2017, eq. 6 and Algorithm 1. A factor whose numerator or
    denominator is zero is taken as 1.

    Args:
        lr: η ≥ 0.
        momentum: μ in [0, 1).
        weight_decay: λ ≥ 0, coupled, 0 for spared parameters.
        trust: c > 0, how much of its norm a layer may move, before η.
        eps1: ε₁ ≥ 0, in units of the gradient's norm; `eps` is read too.
        layerwise: the factor; off for spared parameters.
        nesterov: look ahead along the momentum.

    Raises:
        EdslError: for a value outside its domain.

    Example:
        >>> import edsl
        >>> edsl.lars(lr=1.0).trust
        0.001
    """

    name: ClassVar[str] = "lars"
    lr: float = field(1.0, Number(0), "η")
    momentum: float = field(0.9, DECAY, "μ")
    weight_decay: float = field(1e-4, Number(0), "λ", spared=0.0)
    trust: float = field(0.001, Number(0, open_low=True), "c")
    eps1: float = field(1e-8, Number(0), "ε₁")
    layerwise: bool = field(True, Switch(), spared=False)
    nesterov: bool = field(False, Switch())

    @property
    def averages(self) -> str:
        return "sum"

    def init(self, zero: Value) -> Momentum:
        return Momentum(zero)

    def step(self, x: Value, memory: Momentum, at: At) -> tuple[Value, Momentum]:
        d = x + self.weight_decay * at.theta
        if self.layerwise:
            length = at.norm(at.theta)
            d = at.ratio(self.trust * length, at.norm(x) + self.weight_decay * length + self.eps1) * d
        m = self.momentum * memory.m + d
        return -self.lr * (d + self.momentum * m if self.nesterov else m), Momentum(m)
