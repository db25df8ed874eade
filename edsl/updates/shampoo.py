"""`shampoo`: preconditioned on both sides by roots of the gradients' covariances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from edsl.language.context import At, Value
from edsl.language.domain import DECAY, Choice, Number, Split, Switch, Whole, field
from edsl.language.stage import BaseUpdate
from edsl.numerics.blocks import block_shapes
from edsl.numerics.structures import SYMMETRIC
from edsl.updates.covariances import bounded


class Factors(NamedTuple):
    """Momentum, the two covariances, and their inverse roots."""

    m: Value
    left: Value
    right: Value
    left_root: Value
    right_root: Value


class GraftedFactors(NamedTuple):
    """The same, with the second moment that grafting onto Adam needs."""

    m: Value
    left: Value
    right: Value
    left_root: Value
    right_root: Value
    v: Value


@dataclass(frozen=True)
class Shampoo(BaseUpdate):
    """A matrix preconditioner as a Kronecker product of two small ones.

        L = β₃ L + (1−β₃) U Uᵀ,   R = β₃ R + (1−β₃) Uᵀ U     average="sum": L = L + U Uᵀ, R = R + Uᵀ U
        L̃ = (L̂ + ε₁ I)^(−p),   R̃ = (R̂ + ε₁ I)^(−p)        at step 1 and every n steps
        m = β₂ m + (1−β₂) U,   d = L̃ m̂ R̃
        Δθ = −η (d ‖graft‖/‖d‖ + λ θ),   graft = m̂ (sgd) or m̂/(√v̂ + 1e-8) (adam);  none: Δθ = −η (d + λ θ)

    ε₁ counts in units of the largest eigenvalue. Source: Gupta et al. 2018, Algorithm 1 (p = 1/4,
    sums); Anil et al. 2020 and Shi et al. 2023, Algorithm 2, for averages, grafting, blocks and p.
    Parameters are matrices: rows × all other dimensions, cut into blocks that are preconditioned
    alone. A gradient of a norm above 2⁵⁰ is scaled down to it, so that covariances stay finite.

    Args:
        lr: η ≥ 0, of the grafted method.
        betas: decays of momentum and of covariances in [0, 1); kept as beta2 and beta3.
        weight_decay: λ ≥ 0, decoupled, 0 for spared parameters.
        eps1: ε₁ ≥ 0, relative; `eps` is read too.
        exponent: p > 0; 1/4 is the paper's, 1/2 Anil et al.'s choice for one-sided use.
        every: n ≥ 1, steps from one computation of the roots to the next.
        stagger: behind its first step, each parameter renews its roots at steps of its own, which its name tells.
        block: the largest dimension of a factor.
        grafting: whose step length is taken: "adam", "sgd" or "none".
        average: "ema" or "sum".
        split: into which matrices each parameter is cut: "auto" (fused QKV and experts as the module
            tells), "none" (one matrix), "experts" (an (E, m, n) is E matrices), names of equal parts of
            the rows, or their sizes.
        heads: equal blocks of rows that each of these is cut into; behind `split` those of the first part.

    Raises:
        EdslError: for a value outside its domain, a parameter with fewer than 2 dimensions, or one that
            can't be cut so.

    Example:
        >>> import edsl
        >>> edsl.shampoo(lr=0.001, every=20).exponent
        0.25
    """

    name: ClassVar[str] = "shampoo"
    is_matrix: ClassVar[bool] = True
    stacks: ClassVar[bool] = True
    lr: float = field(0.001, Number(0), "η")
    beta2: float = field(0.9, DECAY, "β₂")
    beta3: float = field(0.99, DECAY, "β₃")
    weight_decay: float = field(0.0, Number(0), "λ", spared=0.0)
    eps1: float = field(1e-6, Number(0), "ε₁")
    exponent: float = field(0.25, Number(0, open_low=True), "p")
    every: int = field(10, Whole(1))
    block: int = field(1024, Whole(1))
    stagger: bool = field(False, Switch())
    grafting: str = field("adam", Choice(("adam", "sgd", "none")))
    average: str = field("ema", Choice(("ema", "sum")))
    split: str | tuple[Any, ...] = field("auto", Split())
    heads: int = field(1, Whole(1))

    @property
    def cut(self) -> tuple[Any, int]:
        return self.split, self.heads

    @property
    def refresh_every(self) -> int:
        return self.every

    @property
    def staggers(self) -> bool:
        return self.stagger

    def init(self, zero: Value) -> Any:
        return GraftedFactors(*[zero] * 6) if self.grafting == "adam" else Factors(*[zero] * 5)

    def buffer_shapes(self, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        left, right = block_shapes(rows, columns, self.block)
        return {"left": left, "left_root": left, "right": right, "right_root": right}

    def structures(self) -> dict[str, str]:
        return dict.fromkeys(("left", "right", "left_root", "right_root"), SYMMETRIC)

    def refresh(self, x: Value, memory: Any, at: At) -> Any:
        left, right = self._covariances(bounded(x, at), memory, at)
        if self.average == "ema":
            left, right = at.debias(left, self.beta3), at.debias(right, self.beta3)
        left_root = at.inverse_power(left, self.exponent, self.eps1)
        right_root = at.inverse_power(right, self.exponent, self.eps1)
        return memory._replace(left_root=left_root, right_root=right_root)

    def step(self, x: Value, memory: Any, at: At) -> tuple[Value, Any]:
        x = bounded(x, at)
        left, right = self._covariances(x, memory, at)
        m = self.beta2 * memory.m + (1 - self.beta2) * x
        m_hat = at.debias(m, self.beta2)
        d = at.whole(at.product(at.product(memory.left_root, at.blocks(m_hat, self.block)), memory.right_root))
        new = memory._replace(m=m, left=left, right=right)
        graft = m_hat
        if self.grafting == "adam":
            v = self.beta3 * memory.v + (1 - self.beta3) * (x * x)
            graft = m_hat / (at.sqrt(at.debias(v, self.beta3)) + 1e-8)
            new = new._replace(v=v)
        if self.grafting != "none":
            d = at.ratio(at.norm(graft), at.norm(d)) * d
        return -self.lr * (d + self.weight_decay * at.theta), new

    def _covariances(self, x: Value, memory: Any, at: At) -> tuple[Value, Value]:
        u = at.blocks(x, self.block)
        share = 1 - self.beta3 if self.average == "ema" else 1
        kept = self.beta3 if self.average == "ema" else 1
        left = kept * memory.left + share * at.product(u, at.transpose(u))
        right = kept * memory.right + share * at.product(at.transpose(u), u)
        return left, right
