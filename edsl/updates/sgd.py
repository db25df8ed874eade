"""`sgd`: gradient descent with momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edsl.errors import EdslError
from edsl.language.context import At, Value
from edsl.language.domain import DECAY, Choice, Number, Switch, field
from edsl.language.stage import BaseUpdate, NoMemory
from edsl.updates.moments import Momentum


@dataclass(frozen=True)
class Sgd(BaseUpdate):
    """Gradient descent with momentum, as a sum (the paper's and torch's) or as an EMA.

        d = u + λ θ
        m = μ m + d  (average="sum")   or   m = μ m + (1−μ) d  (average="ema")
        Δθ = −η m;   nesterov: Δθ = −η (d + μ m), or −η ((1−μ) d + μ m) for the EMA

    Source: Zhao et al. 2025, Algorithm 3 (E-SGD, its β₂ is μ); Sutskever et al. 2013 for Nesterov.
    With μ = 0 there is no buffer and Δθ = −η d.

    Args:
        lr: η ≥ 0.
        momentum: μ in [0, 1).
        average: "sum" or "ema".
        nesterov: look ahead along the momentum; needs momentum > 0.
        weight_decay: λ ≥ 0, coupled (added to the gradient), 0 for spared parameters.

    Raises:
        EdslError: for a value outside its domain, or nesterov without momentum.

    Example:
        >>> import edsl
        >>> str(edsl.sgd(lr=0.1, momentum=0.9))
        'sgd(lr=0.1, momentum=0.9, weight_decay=0)'
    """

    name: ClassVar[str] = "sgd"
    lr: float = field(0.001, Number(0), "η")
    momentum: float = field(0.0, DECAY, "μ")
    weight_decay: float = field(0.0, Number(0), "λ", spared=0.0)
    average: str = field("sum", Choice(("sum", "ema")))
    nesterov: bool = field(False, Switch())

    @property
    def averages(self) -> str:
        return self.average

    def check(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise EdslError("sgd: nesterov=True needs momentum > 0, got momentum=0")

    def init(self, zero: Value) -> Momentum | NoMemory:
        return Momentum(zero) if self.momentum > 0 else NoMemory()

    def step(self, x: Value, memory: Momentum | NoMemory, at: At) -> tuple[Value, Momentum | NoMemory]:
        d = x + self.weight_decay * at.theta
        if isinstance(memory, NoMemory):
            return -self.lr * d, memory
        share = 1 - self.momentum if self.average == "ema" else 1
        m = self.momentum * memory.m + share * d
        direction = share * d + self.momentum * m if self.nesterov else m
        return -self.lr * direction, Momentum(m)
