"""`psgd_kron`: momentum whitened by a Kronecker product of two triangular factors, which learn from random probes."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log2
from typing import Any, ClassVar, NamedTuple

from edsl.language.context import At, Value
from edsl.language.domain import DECAY, Choice, Number, Split, Whole, field
from edsl.language.stage import BaseUpdate
from edsl.numerics.blocks import factor_shapes
from edsl.numerics.structures import TRIANGULAR
from edsl.updates.covariances import bounded

_SAFE = 1e-6  # beside a root mean square that may be 0


class Whitener(NamedTuple):
    """Momentum, and the factors of its rows and of its columns."""

    m: Value
    left: Value
    right: Value


@dataclass(frozen=True)
class PsgdKron(BaseUpdate):
    """Momentum whitened by P = LᵀL ⊗ RᵀR, whose factors are fitted step by step on a Lie group.

        m = β₂ m + (1−β₂) U
        A = L (m̂ + ε₁ ξ) Rᵀ,   B = L⁻ᵀ ξ R⁻¹,   ξ ~ N(0, I)                         at steps that a fit is due
        L = L − μ triu(A Aᵀ − B Bᵀ) L / ‖A Aᵀ + B Bᵀ‖,   R = R − μ triu(AᵀA − BᵀB) R / ‖AᵀA + BᵀB‖
        d = LᵀL m̂ RᵀR
        Δθ = −η (d min(1, c/(rms(d) + 1e-6)) + λ θ)

    L and R are upper triangular and begin as I; ‖·‖ is a lower bound of the spectral norm by one power iteration. A
    side of more than `largest` elements has a diagonal factor. Parameters are matrices, rows × all other dimensions;
    one of fewer than 2 dimensions, and a matrix of one row or column, has one factor, a diagonal. A gradient of a norm
    above 2⁵⁰ is scaled down to it.

    Fits are due at step 1 and every n steps; behind step `flat` the period doubles every `doubling` steps, up to
    `rarest`. Source: Li 2015, Preconditioned Stochastic Gradient Descent, arXiv 1512.04202; Li 2018, Preconditioner on
    Matrix Lie Group for SGD, arXiv 1809.10232; Li and Pooladzandi 2024, arXiv 2402.11858. Defaults, clipping and fits
    that grow rarer are those of Walters and Pooladzandi's Kron. ξ is a function of the seed, the step and the
    parameter alone: a resumed run draws the same.

    Args:
        lr: η ≥ 0.
        beta2: β₂, the decay of the momentum in [0, 1).
        weight_decay: λ ≥ 0, decoupled, 0 for spared parameters.
        eps1: ε₁ ≥ 0, in units of the gradient: factors of what is 0 grow no further; `eps` is read too.
        fit_rate: μ in [0, 1), the length of a step of a fit; at 0 the factors stay as they are.
        clipping: c > 0, the largest root mean square of d.
        every: n ≥ 1, steps from one fit to the next at the beginning.
        flat: steps before the fits become rarer.
        doubling: steps in which their period then doubles.
        rarest: the longest period.
        largest: the longest side with a triangular factor.
        whiten: "momentum" or "gradient": on which of them the factors are fitted.
        split: into which matrices each parameter is cut: "auto" (fused QKV and experts as the module
            tells), "none" (one matrix), "experts" (an (E, m, n) is E matrices), names of equal parts of
            the rows, or their sizes.
        heads: equal blocks of rows that each of these is cut into; behind `split` those of the first part.
        seed: of ξ, a whole number ≥ 0.

    Raises:
        EdslError: for a value outside its domain, or a parameter that can't be cut so.

    Example:
        >>> import edsl
        >>> stage = edsl.psgd_kron(lr=0.001, every=2, flat=6, doubling=4, rarest=8)
        >>> [k for k in range(1, 40) if stage.is_due(k)]
        [1, 3, 5, 7, 10, 16, 24, 32]
    """

    name: ClassVar[str] = "psgd_kron"
    is_matrix: ClassVar[bool] = True
    takes_vectors: ClassVar[bool] = True
    stacks: ClassVar[bool] = True
    needs_probe: ClassVar[bool] = True
    lr: float = field(0.001, Number(0), "η")
    beta2: float = field(0.9, DECAY, "β₂")
    weight_decay: float = field(0.0, Number(0), "λ", spared=0.0)
    eps1: float = field(1e-9, Number(0), "ε₁")
    fit_rate: float = field(0.1, Number(0, 1, open_high=True), "μ")
    clipping: float = field(1.1, Number(0, open_low=True), "c")
    every: int = field(1, Whole(1))
    flat: int = field(500, Whole())
    doubling: int = field(693, Whole(1))
    rarest: int = field(33, Whole(1))
    largest: int = field(8192, Whole(1))
    whiten: str = field("momentum", Choice(("momentum", "gradient")))
    split: str | tuple[Any, ...] = field("auto", Split())
    heads: int = field(1, Whole(1))
    seed: int = field(0, Whole())

    @property
    def cut(self) -> tuple[Any, int]:
        return self.split, self.heads

    @property
    def refresh_every(self) -> int:
        return 1 if self.every < self.rarest else self.every

    def is_due(self, k: int) -> bool:
        return k == 1 or self._fits(k - 1) > self._fits(k - 2)

    @property
    def rhythm(self) -> str:
        if self.every >= self.rarest:
            return super().rhythm
        often = f"every {self.every} steps" if self.every > 1 else "each step"
        return f"{often}; behind step {self.flat} the period doubles every {self.doubling} steps, up to {self.rarest}"

    def _fits(self, steps: int) -> int:
        """The whole part of the sum of 1/period over so many steps."""
        late, period = max(0, steps - self.flat), max(self.every, self.rarest)
        growing = max(0, ceil(self.doubling * log2(period / self.every)) - 1)
        share = 2.0 ** (-1 / self.doubling)
        risen = share * (1 - share ** min(late, growing)) / (1 - share)
        return floor((min(steps, self.flat) + risen) / self.every + max(0, late - growing) / period + 1e-9)

    def init(self, zero: Value) -> Whitener:
        return Whitener(zero, zero, zero)

    def buffer_shapes(self, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        left, right = factor_shapes(rows, columns, self.largest)
        return {"left": left, "right": right}

    def structures(self) -> dict[str, str]:
        return {"left": TRIANGULAR, "right": TRIANGULAR}

    def refresh(self, x: Value, memory: Whitener, at: At) -> Whitener:
        x = bounded(x, at)
        _, m_hat = self._averaged(x, memory, at)
        seen = (m_hat if self.whiten == "momentum" else x) + self.eps1 * at.probe
        left, right = at.started(memory.left), at.started(memory.right)
        left, right = at.balanced(left, right), at.balanced(right, left)
        a, b = at.factored(left, seen, right), at.solved(left, at.probe, right)
        left, right = (at.fitted(one, a, b, self.fit_rate, side) for one, side in ((left, "left"), (right, "right")))
        return memory._replace(left=left, right=right)

    def step(self, x: Value, memory: Whitener, at: At) -> tuple[Value, Whitener]:
        m, m_hat = self._averaged(bounded(x, at), memory, at)
        d = at.preconditioned(memory.left, m_hat, memory.right)
        size = at.norm(d) / at.sqrt(at.rows * at.columns)
        d = at.minimum(1, self.clipping / (size + _SAFE)) * d
        return -self.lr * (d + self.weight_decay * at.theta), memory._replace(m=m)

    def _averaged(self, x: Value, memory: Whitener, at: At) -> tuple[Value, Value]:
        """The next momentum, and without its bias."""
        m = self.beta2 * memory.m + (1 - self.beta2) * x
        return m, at.debias(m, self.beta2)
