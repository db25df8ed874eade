"""`adabelief`: steps scaled by how far gradients stray from their mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edsl.language.context import At, Value
from edsl.language.domain import DECAY, Number, field
from edsl.language.stage import BaseUpdate
from edsl.updates.moments import Moments


@dataclass(frozen=True)
class AdaBelief(BaseUpdate):
    """Adam with a second moment of the gradient's deviation from its mean.

        m = β₂ m + (1−β₂) u,   v = β₃ v + (1−β₃)(u − m)² + ε₁
        Δθ = −η (m̂ / (√v̂ + ε₁) + λ θ),   m̂ = m/(1−β₂ᵏ),  v̂ = v/(1−β₃ᵏ)

    Source: Zhuang et al. 2020, Algorithm 2, with decoupled decay as in the authors' code.

    Args:
        lr: η ≥ 0.
        betas: AdaBelief's (β₁, β₂), decays of the first and second moment in [0, 1); kept as beta2 and beta3.
        weight_decay: λ ≥ 0, decoupled, 0 for spared parameters.
        eps1: ε₁ ≥ 0; `eps` is read too.

    Raises:
        EdslError: for a value outside its domain.

    Example:
        >>> import edsl
        >>> edsl.adabelief(lr=0.01).eps1
        1e-08
    """

    name: ClassVar[str] = "adabelief"
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
        m = self.beta2 * memory.m + (1 - self.beta2) * x
        deviation = x - m
        v = self.beta3 * memory.v + (1 - self.beta3) * (deviation * deviation) + self.eps1
        m_hat = at.debias(m, self.beta2)
        v_hat = at.debias(v, self.beta3)
        return -self.lr * (m_hat / (at.sqrt(v_hat) + self.eps1) + self.weight_decay * at.theta), Moments(m, v)
