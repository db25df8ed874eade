"""`muon`: momentum, orthogonalised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from edsl.language.context import At, Value
from edsl.language.domain import DECAY, Choice, Number, Split, Switch, Whole, field
from edsl.language.stage import BaseUpdate
from edsl.updates.moments import Momentum


@dataclass(frozen=True)
class Muon(BaseUpdate):
    """Steps whose singular values are all about 1: the momentum orthogonalised by Newton–Schulz.

        m = μ m + (1−μ) u,   d = (1−μ) u + μ m  (nesterov) or m
        Δθ = −η (c NS(d) + λ θ),   c = √max(1, rows/columns)   or   0.2 √max(rows, columns)

    Source: Jordan et al. 2024 (Muon); Liu et al. 2025, eq. 4 for "match_rms_adamw"; Amsel et al. 2025
    for the minimax polynomials. Parameters are matrices, rows × all other dimensions, or several.

    Newton–Schulz takes its steps with the minimax quintics for singular values from 1e-3 of the
    norm: five bring these into [0.87, 1.13]. "jordan" is the original's fixed quintic, which brings
    those from 2e-3 anywhere into [0.68, 1.21].

    Args:
        lr: η ≥ 0, the spectral norm of a step of a square matrix.
        momentum: μ in [0, 1).
        weight_decay: λ ≥ 0, decoupled, 0 for spared parameters.
        nesterov: look ahead along the momentum.
        steps: of Newton–Schulz.
        polynomials: "minimax" or "jordan".
        scale: "original", "match_rms_adamw" (so that Adam's η fits) or "none": c = 1.
        precision: of Newton–Schulz: "working", the parameter's own (float32 for half precision), or
            "bfloat16": products in half precision, but for those whose rounding would show (sums are float32
            on NVIDIA GPUs, of float16, and on CPUs with AVX512-BF16). With "jordan" everything is rounded to
            bfloat16, as in torch.optim.Muon, to the bit.
        split: into which matrices each parameter is cut: "auto" (fused QKV and experts as the module
            tells), "none" (one matrix), "experts" (an (E, m, n) is E matrices), names of equal parts of
            the rows, or their sizes.
        heads: equal blocks of rows that each of these is cut into; behind `split` those of the first part.

    Raises:
        EdslError: for a value outside its domain, a parameter with fewer than 2 dimensions, or one that
            can't be cut so.

    Example:
        >>> import edsl
        >>> str(edsl.muon(lr=0.02))
        'muon(lr=0.02, momentum=0.95, weight_decay=0)'
    """

    name: ClassVar[str] = "muon"
    is_matrix: ClassVar[bool] = True
    stacks: ClassVar[bool] = True
    lr: float = field(0.02, Number(0), "η")
    momentum: float = field(0.95, DECAY, "μ")
    weight_decay: float = field(0.0, Number(0), "λ", spared=0.0)
    nesterov: bool = field(True, Switch())
    steps: int = field(5, Whole(1))
    polynomials: str = field("minimax", Choice(("minimax", "jordan")))
    scale: str = field("original", Choice(("original", "match_rms_adamw", "none")))
    precision: str = field("working", Choice(("working", "bfloat16")))
    split: str | tuple[Any, ...] = field("auto", Split())
    heads: int = field(1, Whole(1))

    @property
    def cut(self) -> tuple[Any, int]:
        return self.split, self.heads

    @property
    def averages(self) -> str:
        return "ema"

    def init(self, zero: Value) -> Momentum:
        return Momentum(zero)

    def step(self, x: Value, memory: Momentum, at: At) -> tuple[Value, Momentum]:
        m = self.momentum * memory.m + (1 - self.momentum) * x
        d = (1 - self.momentum) * x + self.momentum * m if self.nesterov else m
        direction = at.orthogonal(d, self.steps, self.polynomials, self.precision)
        if self.scale == "original":
            direction = at.sqrt(at.maximum(at.rows / at.columns, 1)) * direction
        elif self.scale == "match_rms_adamw":
            direction = 0.2 * at.sqrt(at.maximum(at.rows, at.columns)) * direction
        return -self.lr * (direction + self.weight_decay * at.theta), Momentum(m)
