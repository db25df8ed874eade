"""`soap`: Adam in the eigenbasis of Shampoo's preconditioner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from edsl.language.context import At, Value
from edsl.language.domain import DECAY, Number, Split, Switch, Whole, field
from edsl.language.stage import BaseUpdate
from edsl.numerics.blocks import block_shapes
from edsl.numerics.structures import ENTRIES, SYMMETRIC
from edsl.updates.covariances import bounded


class RotatedMoments(NamedTuple):
    """Moments in the basis, the two covariances, and their eigenbases."""

    m: Value
    v: Value
    left: Value
    right: Value
    left_basis: Value
    right_basis: Value


@dataclass(frozen=True)
class Soap(BaseUpdate):
    """Adam in the eigenbasis of the gradient's covariances.

        W = Qₗᵀ U Qᵣ,   m = β₂ m + (1−β₂) W,   v = β₃ v + (1−β₃) W²
        Δθ = −η (Qₗ [m̂ / (√v̂ + ε₁)] Qᵣᵀ + λ θ)      0 at the first step, which sets the bases
        L = β₄ L + (1−β₄) U Uᵀ,   R = β₄ R + (1−β₄) Uᵀ U
        Qₗ, Qᵣ: eigenvectors of the first U Uᵀ, Uᵀ U; every n steps one power iteration and QR of L, R

    m is that of U in the basis, which it follows when that changes: two products a step less than to turn it
    each time. The first gradient counts in the moments, though nothing moves. Source: Vyas et al. 2024,
    Algorithms 3 and 4. Parameters are matrices: rows × all other
    dimensions, cut into blocks with bases of their own. A gradient of a norm above 2⁵⁰ is scaled down to it,
    so that covariances stay finite. Defaults are the authors', but for the decay.

    Args:
        lr: η ≥ 0.
        betas: Adam's (β₁, β₂), decays of the moments in [0, 1); kept as beta2 and beta3.
        beta4: of the covariances, in [0, 1).
        weight_decay: λ ≥ 0, decoupled, 0 for spared parameters.
        eps1: ε₁ > 0, in units of the gradient; `eps` is read too.
        every: n ≥ 1, steps from one change of the bases to the next.
        stagger: behind its first step, each parameter renews its bases at steps of its own, which its name tells.
        block: the largest dimension of a basis.
        split: into which matrices each parameter is cut: "auto" (fused QKV and experts as the module
            tells), "none" (one matrix), "experts" (an (E, m, n) is E matrices), names of equal parts of
            the rows, or their sizes.
        heads: equal blocks of rows that each of these is cut into; behind `split` those of the first part.

    Raises:
        EdslError: for a value outside its domain, a parameter with fewer than 2 dimensions, or one that
            can't be cut so.

    Example:
        >>> import edsl
        >>> edsl.soap(lr=0.003).every
        10
    """

    name: ClassVar[str] = "soap"
    is_matrix: ClassVar[bool] = True
    stacks: ClassVar[bool] = True
    lr: float = field(0.003, Number(0), "η")
    beta2: float = field(0.95, DECAY, "β₂")
    beta3: float = field(0.95, DECAY, "β₃")
    beta4: float = field(0.95, DECAY, "β₄")
    weight_decay: float = field(0.0, Number(0), "λ", spared=0.0)
    eps1: float = field(1e-8, Number(0, open_low=True), "ε₁")
    every: int = field(10, Whole(1))
    block: int = field(1024, Whole(1))
    stagger: bool = field(False, Switch())
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

    def init(self, zero: Value) -> RotatedMoments:
        return RotatedMoments(*[zero] * 6)

    def buffer_shapes(self, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        left, right = block_shapes(rows, columns, self.block)
        return {
            **dict.fromkeys(("m", "v"), (*left[:3], right[3])),
            "left": left,
            "left_basis": left,
            "right": right,
            "right_basis": right,
        }

    def structures(self) -> dict[str, str]:
        return {"m": ENTRIES, "v": ENTRIES, "left": SYMMETRIC, "right": SYMMETRIC}

    def begin(self, x: Value, memory: RotatedMoments, at: At) -> RotatedMoments:
        u = at.blocks(bounded(x, at), self.block)
        left = at.eigenbasis(at.product(u, at.transpose(u)))
        right = at.eigenbasis(at.product(at.transpose(u), u))
        return memory._replace(left_basis=left, right_basis=right)

    def refresh(self, x: Value, memory: RotatedMoments, at: At) -> RotatedMoments:
        left = at.refined(memory.left_basis, memory.left)
        right = at.refined(memory.right_basis, memory.right)
        turned = at.product(at.product(at.transpose(left), memory.left_basis), memory.m)
        m = at.product(turned, at.product(at.transpose(memory.right_basis), right))
        return memory._replace(m=m, left_basis=left, right_basis=right)

    def step(self, x: Value, memory: RotatedMoments, at: At) -> tuple[Value, RotatedMoments]:
        into, back = memory.left_basis, memory.right_basis
        x = bounded(x, at)
        u = at.blocks(x, self.block)
        rotated = at.product(at.product(at.transpose(into), u), back)
        m = self.beta2 * memory.m + (1 - self.beta2) * rotated
        v = self.beta3 * memory.v + (1 - self.beta3) * (rotated * rotated)
        scaled = at.debias(m, self.beta2) / (at.sqrt(at.debias(v, self.beta3)) + self.eps1)
        d = at.whole(at.product(at.product(into, scaled), at.transpose(back)))
        left = self.beta4 * memory.left + (1 - self.beta4) * at.product(u, at.transpose(u))
        right = self.beta4 * memory.right + (1 - self.beta4) * at.product(at.transpose(u), u)
        change = at.first(0.0, -self.lr * (d + self.weight_decay * at.theta))
        return change, RotatedMoments(m, v, left, right, into, back)
