"""`sophia`: Newton's step on the diagonal, clipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from edsl.language.context import At, Value
from edsl.language.domain import DECAY, Number, field
from edsl.language.stage import BaseUpdate


class MeanCurvature(NamedTuple):
    """EMAs of the gradient and of the Hessian's diagonal."""

    m: Value
    h: Value


@dataclass(frozen=True)
class Sophia(BaseUpdate):
    """Momentum over curvature, at most 1 in each element.

        m = β₂ m + (1−β₂) u,   h = β₃ h + (1−β₃) D   at each new look at the Hessian
        Δθ = −η (clamp(m / max(γ h, ε₁), 1) + λ θ)

    Source: Liu et al. 2024, Algorithm 3 and eq. 6 (Sophia-H); D is the estimator's: begin with
    `hutchinson(every=10)`.

    Args:
        lr: η ≥ 0, the largest step of an element.
        betas: Sophia's (β₁, β₂), decays of momentum and curvature in [0, 1); kept as beta2 and beta3.
        weight_decay: λ ≥ 0, decoupled, 0 for spared parameters.
        gamma: γ ≥ 0; smaller clips more elements.
        eps1: ε₁ > 0, in units of curvature; `eps` is read too.

    Raises:
        EdslError: for a value outside its domain, or behind an estimator without a Hessian.

    Example:
        >>> import edsl
        >>> str(edsl.parse("hutchinson(every=10) | sophia(lr=0.001)")).split(" | ")[0]
        'hutchinson(every=10)'
    """

    name: ClassVar[str] = "sophia"
    lr: float = field(1e-3, Number(0), "η")
    beta2: float = field(0.96, DECAY, "β₂")
    beta3: float = field(0.99, DECAY, "β₃")
    weight_decay: float = field(0.0, Number(0), "λ", spared=0.0)
    gamma: float = field(0.01, Number(0), "γ")
    eps1: float = field(1e-12, Number(0, open_low=True), "ε₁")

    @property
    def needs_hessian(self) -> bool:
        return True

    def init(self, zero: Value) -> MeanCurvature:
        return MeanCurvature(zero, zero)

    def step(self, x: Value, memory: MeanCurvature, at: At) -> tuple[Value, MeanCurvature]:
        m = self.beta2 * memory.m + (1 - self.beta2) * x
        h = at.fresh(self.beta3 * memory.h + (1 - self.beta3) * at.hessian, memory.h)
        newton = at.clamp(m / at.maximum(self.gamma * h, self.eps1), 1)
        return -self.lr * (newton + self.weight_decay * at.theta), MeanCurvature(m, h)
