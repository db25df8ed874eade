"""`adahessian`: Adam whose second moment is of the Hessian's diagonal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edsl.language.context import At, Value
from edsl.language.domain import DECAY, Number, field
from edsl.language.stage import BaseUpdate
from edsl.updates.moments import Moments


@dataclass(frozen=True)
class AdaHessian(BaseUpdate):
    """Steps scaled by the root mean square of the curvature in each element.

        m = β₂ m + (1−β₂) u,   v = β₃ v + (1−β₃) D²   at each new look at the Hessian
        Δθ = −η (m̂ / ((√v̂)ᵖ + ε₁) + λ θ),   m̂ = m/(1−β₂ᵏ),  v̂ = v/(1−β₃ʲ) after j looks

    Source: Yao et al. 2021, Algorithm 1 and eq. 11 (AdaHessian); D is the estimator's: begin with
    `hutchinson`, for convolutions with spatial=True. Defaults are the authors'.

    Args:
        lr: η ≥ 0.
        betas: AdaHessian's (β₁, β₂), decays of the first and second moment in [0, 1); kept as beta2 and beta3.
        weight_decay: λ ≥ 0, decoupled, 0 for spared parameters.
        eps1: ε₁ ≥ 0, in units of curvature; `eps` is read too.
        power: p in [0, 1], how far the curvature counts.

    Raises:
        EdslError: for a value outside its domain, or behind an estimator without a Hessian.

    Example:
        >>> import edsl
        >>> str(edsl.parse("adahessian(lr=0.15)")).split(" | ")[0]
        'hutchinson'
    """

    name: ClassVar[str] = "adahessian"
    lr: float = field(0.15, Number(0), "η")
    beta2: float = field(0.9, DECAY, "β₂")
    beta3: float = field(0.999, DECAY, "β₃")
    weight_decay: float = field(0.0, Number(0), "λ", spared=0.0)
    eps1: float = field(1e-4, Number(0), "ε₁")
    power: float = field(1.0, Number(0, 1), "p")

    @property
    def needs_hessian(self) -> bool:
        return True

    @property
    def averages(self) -> str:
        return "ema"

    def init(self, zero: Value) -> Moments:
        return Moments(zero, zero)

    def step(self, x: Value, memory: Moments, at: At) -> tuple[Value, Moments]:
        m = self.beta2 * memory.m + (1 - self.beta2) * x
        v = at.fresh(self.beta3 * memory.v + (1 - self.beta3) * (at.hessian * at.hessian), memory.v)
        m_hat = at.debias(m, self.beta2)
        v_hat = at.debias(v, self.beta3, at.looks)
        scale = at.sqrt(v_hat) ** self.power + self.eps1
        return -self.lr * (m_hat / scale + self.weight_decay * at.theta), Moments(m, v)
