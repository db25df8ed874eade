"""`galore`: Adam in the leading subspace of the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from edsl.language.context import At, Value
from edsl.language.domain import DECAY, Choice, Number, Split, Whole, field
from edsl.language.stage import BaseUpdate
from edsl.numerics.structures import ENTRIES
from edsl.updates.covariances import bounded


class LowRankMoments(NamedTuple):
    """Moments of the projected gradient, and the basis that it is projected on."""

    m: Value
    v: Value
    basis: Value


@dataclass(frozen=True)
class Galore(BaseUpdate):
    """Adam on the gradient's projection on its own leading singular vectors, which are renewed now and then.

        W = Pᵀ U,   m = β₂ m + (1−β₂) W,   v = β₃ v + (1−β₃) W²
        Δθ = −η (s P [m̂ / (√v̂ + ε₁)] + λ θ)
        P: every n steps the r leading left singular vectors of U      side="right": W = U P, P of right ones

    so that moments of a matrix of m × n are of r × n. They are kept when P is renewed, as in the authors' code.
    Source: Zhao et al. 2024 (GaLore), Algorithm 2. Parameters are matrices: rows × all other dimensions. A gradient of
    a norm above 2⁵⁰ is scaled down to it.

    Args:
        lr: η ≥ 0.
        betas: Adam's (β₁, β₂), decays of the moments in [0, 1); kept as beta2 and beta3.
        weight_decay: λ ≥ 0, decoupled, 0 for spared parameters.
        eps1: ε₁ ≥ 0, in units of the gradient; `eps` is read too.
        scale: s ≥ 0.
        rank: r ≥ 1, at most the projected side.
        every: n ≥ 1, steps from one P to the next.
        side: which side of each matrix is projected; the paper takes the shorter one.
        split: into which matrices each parameter is cut: "auto" (fused QKV and experts as the module
            tells), "none" (one matrix), "experts" (an (E, m, n) is E matrices), names of equal parts of
            the rows, or their sizes.
        heads: equal blocks of rows that each of these is cut into; behind `split` those of the first part.

    Raises:
        EdslError: for a value outside its domain, a parameter with fewer than 2 dimensions, or one that
            can't be cut so.

    Example:
        >>> import edsl
        >>> edsl.galore(lr=0.01, rank=4).every
        200
    """

    name: ClassVar[str] = "galore"
    is_matrix: ClassVar[bool] = True
    stacks: ClassVar[bool] = True
    lr: float = field(0.01, Number(0), "η")
    beta2: float = field(0.9, DECAY, "β₂")
    beta3: float = field(0.999, DECAY, "β₃")
    weight_decay: float = field(0.0, Number(0), "λ", spared=0.0)
    eps1: float = field(1e-8, Number(0), "ε₁")
    scale: float = field(0.25, Number(0), "s")
    rank: int = field(128, Whole(1))
    every: int = field(200, Whole(1))
    side: str = field("left", Choice(("left", "right")))
    split: str | tuple[Any, ...] = field("auto", Split())
    heads: int = field(1, Whole(1))

    @property
    def cut(self) -> tuple[Any, int]:
        return self.split, self.heads

    @property
    def refresh_every(self) -> int:
        return self.every

    def init(self, zero: Value) -> LowRankMoments:
        return LowRankMoments(zero, zero, zero)

    def buffer_shapes(self, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        if self.side == "left":
            rank = min(self.rank, rows)
            return {"m": (rank, columns), "v": (rank, columns), "basis": (rows, rank)}
        rank = min(self.rank, columns)
        return {"m": (rows, rank), "v": (rows, rank), "basis": (columns, rank)}

    def structures(self) -> dict[str, str]:
        return {"m": ENTRIES, "v": ENTRIES}

    def refresh(self, x: Value, memory: LowRankMoments, at: At) -> LowRankMoments:
        u = bounded(x, at)
        turned = at.transpose(u)
        covariance = at.product(u, turned) if self.side == "left" else at.product(turned, u)
        return memory._replace(basis=at.eigenbasis(covariance, self.rank))

    def step(self, x: Value, memory: LowRankMoments, at: At) -> tuple[Value, LowRankMoments]:
        u, basis = bounded(x, at), memory.basis
        w = at.product(at.transpose(basis), u) if self.side == "left" else at.product(u, basis)
        m = self.beta2 * memory.m + (1 - self.beta2) * w
        v = self.beta3 * memory.v + (1 - self.beta3) * (w * w)
        scaled = at.debias(m, self.beta2) / (at.sqrt(at.debias(v, self.beta3)) + self.eps1)
        d = at.product(basis, scaled) if self.side == "left" else at.product(scaled, at.transpose(basis))
        return -self.lr * (self.scale * d + self.weight_decay * at.theta), LowRankMoments(m, v, basis)
