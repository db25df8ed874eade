"""`adan`: Nesterov's momentum inside Adam, by differences of gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from edsl.language.context import At, Value
from edsl.language.domain import DECAY, Number, field
from edsl.language.stage import BaseUpdate


class AdanMoments(NamedTuple):
    """EMAs of the gradient, of its change, and of the square of what it will be; and the last gradient."""

    m: Value
    d: Value
    v: Value
    g: Value


@dataclass(frozen=True)
class Adan(BaseUpdate):
    """Adaptive Nesterov momentum.

        δ = u_k − u_{k−1}   (0 at the first step)
        m = β₂ m + (1−β₂) u,   d = β₄ d + (1−β₄) δ,   v = β₃ v + (1−β₃)(u + β₄ δ)²
        s = −η (m̂ + β₄ d̂) / (√v̂ + ε₁),   Δθ = (s − η λ θ) / (1 + η λ)

    with m̂, d̂, v̂ debiased. Source: Xie et al. 2022, Algorithm 1, whose (β₁, β₂, β₃) are one minus
    ours here called beta2, beta4, beta3. The decay is proximal, as there.

    Args:
        lr: η ≥ 0.
        betas: decays of the gradient, the difference and the second moment, in [0, 1), in the order of Adan's own
            code; kept as beta2, beta4 and beta3.
        weight_decay: λ ≥ 0, 0 for spared parameters.
        eps1: ε₁ ≥ 0; `eps` is read too.

    Raises:
        EdslError: for a value outside its domain.

    Example:
        >>> import edsl
        >>> str(edsl.adan(lr=0.01))
        'adan(lr=0.01, beta2=0.98, beta3=0.99, beta4=0.92, weight_decay=0, eps1=1e-08)'
    """

    name: ClassVar[str] = "adan"
    betas: ClassVar[tuple[str, ...]] = ("beta2", "beta4", "beta3")
    lr: float = field(0.001, Number(0), "η")
    beta2: float = field(0.98, DECAY, "β₂")
    beta3: float = field(0.99, DECAY, "β₃")
    beta4: float = field(0.92, DECAY, "β₄")
    weight_decay: float = field(0.0, Number(0), "λ", spared=0.0)
    eps1: float = field(1e-8, Number(0), "ε₁")

    def init(self, zero: Value) -> AdanMoments:
        return AdanMoments(zero, zero, zero, zero)

    def step(self, x: Value, memory: AdanMoments, at: At) -> tuple[Value, AdanMoments]:
        delta = x - at.first(x, memory.g)
        ahead = x + self.beta4 * delta
        m = self.beta2 * memory.m + (1 - self.beta2) * x
        d = self.beta4 * memory.d + (1 - self.beta4) * delta
        v = self.beta3 * memory.v + (1 - self.beta3) * (ahead * ahead)
        m_hat, d_hat, v_hat = at.debias(m, self.beta2), at.debias(d, self.beta4), at.debias(v, self.beta3)
        s = -self.lr * ((m_hat + self.beta4 * d_hat) / (at.sqrt(v_hat) + self.eps1))
        shrink = self.lr * self.weight_decay
        return (s - shrink * at.theta) / (1 + shrink), AdanMoments(m, d, v, x)
