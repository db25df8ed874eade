"""`decay`: decoupled weight decay behind any update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edsl.language.context import At, Value
from edsl.language.domain import Number, field
from edsl.language.stage import NoMemory, Wrapper


@dataclass(frozen=True)
class Decay(Wrapper):
    """Decoupled weight decay, after any update.

        Δθ ← Δθ − η λ θ        η the base update's learning rate

    Source: Loshchilov and Hutter 2019, eq. 2, scaled by η as in torch.

    Args:
        rate: λ ≥ 0, 0 for spared parameters.

    Raises:
        EdslError: for a value outside its domain.

    Example:
        >>> import edsl
        >>> str(edsl.parse("sgd(lr=0.1) | decay(rate=0.05)")).split(" | ")[-1]
        'decay(rate=0.05)'
    """

    name: ClassVar[str] = "decay"
    rate: float = field(0.01, Number(0), "λ", spared=0.0)

    def step(self, x: Value, memory: NoMemory, at: At) -> tuple[Value, NoMemory]:
        return x - at.lr * self.rate * at.theta, memory
