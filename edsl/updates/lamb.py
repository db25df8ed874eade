"""`lamb`: Adam's direction with a step in proportion to each layer's norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edsl.language.context import At, Value
from edsl.language.domain import DECAY, Choice, Number, Switch, field
from edsl.language.stage import BaseUpdate
from edsl.updates.moments import Moments


@dataclass(frozen=True)
class Lamb(BaseUpdate):
    """Layerwise adaptive moments. With E before it, this is ALTO.

        m = β₂ m + (1−β₂) u,   v = β₃ v + (1−β₃) u²
        r = m̂ / (√v̂ + ε₁) + λ θ,   m̂ = m/(1−β₂ᵏ),  v̂ = v/(1−β₃ᵏ)
        Δθ = −η r φ(‖θ‖) / (‖r‖ + ε₂ φ(‖θ‖)),   φ(x) = x + ε₃,   norms over the layer

    Source: You et al. 2020, Algorithm 2; Zhao et al. 2025, Algorithm 2 (ALTO) and, with
    `bias_correction=False`, Algorithm 1 (ALTO Vanilla). Where ‖θ‖ or the denominator is zero the
    factor is 1, as in the authors' implementation and whatever ε₃ is: a layer that starts at zero
    moves by η r. (With the paper's φ(0) = ε₃ it would stay within 10⁻¹⁰ of zero.) Defaults are the paper's.

    Args:
        lr: η ≥ 0, relative to the layer's norm.
        betas: Lamb's (β₁, β₂), decays of the first and second moment in [0, 1); kept as beta2 and beta3.
        weight_decay: λ ≥ 0, 0 for spared parameters.
        eps1: ε₁ ≥ 0, in units of the gradient; `eps` is read too.
        eps2: ε₂ ≥ 0, bounds the factor by 1/ε₂.
        eps3: ε₃ ≥ 0, in units of the parameter's norm.
        bias_correction: off is −bc of the paper's Table 7.
        layerwise: the factor; off is −lrr of Table 7, and off for spared parameters.
        m_reads, v_reads: "u", or "g" to feed a moment the raw gradient (−a_m, −a_v of Table 7).

    Raises:
        EdslError: for a value outside its domain.

    Example:
        >>> import edsl
        >>> edsl.lamb(lr=0.02).lr
        0.02
    """

    name: ClassVar[str] = "lamb"
    has_moments: ClassVar[bool] = True
    lr: float = field(0.01, Number(0), "η")
    beta2: float = field(0.9, DECAY, "β₂")
    beta3: float = field(0.99, DECAY, "β₃")
    weight_decay: float = field(1e-4, Number(0), "λ", spared=0.0)
    eps1: float = field(1e-6, Number(0), "ε₁")
    eps2: float = field(1e-6, Number(0), "ε₂")
    eps3: float = field(1e-10, Number(0), "ε₃")
    bias_correction: bool = field(True, Switch())
    layerwise: bool = field(True, Switch(), spared=False)
    m_reads: str = field("u", Choice(("u", "g")))
    v_reads: str = field("u", Choice(("u", "g")))

    @property
    def averages(self) -> str:
        return "ema"

    def init(self, zero: Value) -> Moments:
        return Moments(zero, zero)

    def step(self, x: Value, memory: Moments, at: At) -> tuple[Value, Moments]:
        u_m = at.gradient if self.m_reads == "g" else x
        u_v = at.gradient if self.v_reads == "g" else x
        moments = memory.after(u_m, u_v, self.beta2, self.beta3)
        m_hat, v_hat = moments
        if self.bias_correction:
            m_hat = at.debias(moments.m, self.beta2)
            v_hat = at.debias(moments.v, self.beta3)
        r = m_hat / (at.sqrt(v_hat) + self.eps1) + self.weight_decay * at.theta
        if not self.layerwise:
            return -self.lr * r, moments
        length = at.norm(at.theta)
        phi = length + self.eps3
        return -self.lr * at.ratio(phi, at.norm(r) + self.eps2 * phi, where=length) * r, moments
