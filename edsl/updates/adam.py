"""`adam`: steps scaled by the root of the second moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edsl.language.context import At, Value
from edsl.language.domain import DECAY, Number, field
from edsl.language.stage import BaseUpdate
from edsl.updates.moments import Moments


@dataclass(frozen=True)
class Adam(BaseUpdate):
    """Adam, with weight decay coupled to the gradient as in torch.

        d = u + λ θ
        m = β₂ m + (1−β₂) d,   v = β₃ v + (1−β₃) d²
        Δθ = −η m̂ / (√v̂ + ε₁),   m̂ = m/(1−β₂ᵏ),  v̂ = v/(1−β₃ᵏ)

    Source: Kingma and Ba 2015, Algorithm 1; E-Adam is Zhao et al. 2025, Algorithm 4, whose letters
    these are. Defaults are torch's.

    Args:
        lr: η ≥ 0.
        betas: Adam's (β₁, β₂), decays of the first and second moment in [0, 1); kept as beta2 and beta3.
        weight_decay: λ ≥ 0, 0 for spared parameters.
        eps1: ε₁ ≥ 0, in units of the gradient; `eps` is read too.

    Raises:
        EdslError: for a value outside its domain.

    Example:
        >>> import edsl
        >>> str(edsl.adam(lr=0.01, betas=(0.9, 0.99)))
        'adam(lr=0.01, beta2=0.9, beta3=0.99, weight_decay=0, eps1=1e-08)'
    """

    name: ClassVar[str] = "adam"
    has_moments: ClassVar[bool] = True
    lr: float = field(0.001, Number(0), "η")
    beta2: float = field(0.9, DECAY, "β₂")
    beta3: float = field(0.999, DECAY, "β₃")
    weight_decay: float = field(0.0, Number(0), "λ", spared=0.0)
    eps1: float = field(1e-8, Number(0), "ε₁")

    @property
    def averages(self) -> str:
        return "ema"

    def init(self, zero: Value) -> Moments:
        return Moments(zero, zero)

    def step(self, x: Value, memory: Moments, at: At) -> tuple[Value, Moments]:
        d = x + self.weight_decay * at.theta
        moments = memory.after(d, d, self.beta2, self.beta3)
        m_hat = at.debias(moments.m, self.beta2)
        v_hat = at.debias(moments.v, self.beta3)
        return -self.lr * (m_hat / (at.sqrt(v_hat) + self.eps1)), moments
