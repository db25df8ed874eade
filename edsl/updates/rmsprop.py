"""`rmsprop`: steps scaled by the root of the second moment, without a first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from edsl.language.context import At, Value
from edsl.language.domain import DECAY, Number, Switch, field
from edsl.language.stage import BaseUpdate


class Square(NamedTuple):
    """The second moment."""

    v: Value


class SquareMomentum(NamedTuple):
    """The second moment, and a momentum."""

    v: Value
    m: Value


class SquareMean(NamedTuple):
    """The second moment and the mean, whose square is subtracted from it."""

    v: Value
    mean: Value


class SquareMeanMomentum(NamedTuple):
    """The same, and a momentum."""

    v: Value
    mean: Value
    m: Value


@dataclass(frozen=True)
class RMSprop(BaseUpdate):
    """Gradient descent with every element divided by its own root mean square.

        d = u + λ θ
        v = β₃ v + (1−β₃) d²
        centered:  ḡ = β₃ ḡ + (1−β₃) d,  and v − ḡ² stands for v below
        r = d / (√v + ε₁);   with μ > 0:  m = μ m + r and m stands for r
        Δθ = −η r

    Source: Tieleman and Hinton 2012, lecture 6.5; Graves 2013, eq. 38–45 (centered). Defaults are
    torch's, and so is the place of ε₁; β₃ is torch's alpha.

    Args:
        lr: η ≥ 0.
        beta3: the decay of the second moment in [0, 1).
        momentum: μ in [0, 1); above 0 it keeps one more buffer.
        weight_decay: λ ≥ 0, coupled, 0 for spared parameters.
        eps1: ε₁ ≥ 0, in units of the gradient; `eps` is read too.
        centered: divide by the standard deviation; keeps one more buffer.

    Raises:
        EdslError: for a value outside its domain.

    Example:
        >>> import edsl
        >>> str(edsl.rmsprop(lr=0.001))
        'rmsprop(lr=0.001, beta3=0.99, momentum=0, weight_decay=0, eps1=1e-08)'
    """

    name: ClassVar[str] = "rmsprop"
    lr: float = field(0.01, Number(0), "η")
    beta3: float = field(0.99, DECAY, "β₃")
    momentum: float = field(0.0, DECAY, "μ")
    weight_decay: float = field(0.0, Number(0), "λ", spared=0.0)
    eps1: float = field(1e-8, Number(0), "ε₁")
    centered: bool = field(False, Switch())

    @property
    def averages(self) -> str:
        return "sum"

    def init(self, zero: Value) -> Any:
        if self.centered:
            return SquareMeanMomentum(zero, zero, zero) if self.momentum > 0 else SquareMean(zero, zero)
        return SquareMomentum(zero, zero) if self.momentum > 0 else Square(zero)

    def step(self, x: Value, memory: Any, at: At) -> tuple[Value, Any]:
        d = x + self.weight_decay * at.theta
        v = self.beta3 * memory.v + (1 - self.beta3) * (d * d)
        new, spread = {"v": v}, v
        if isinstance(memory, (SquareMean, SquareMeanMomentum)):
            mean = self.beta3 * memory.mean + (1 - self.beta3) * d
            new["mean"] = mean
            spread = at.maximum(v - at.finite(mean * mean), 0)  # where both are infinite, it is v
        r = d / (at.sqrt(spread) + self.eps1)
        if isinstance(memory, (SquareMomentum, SquareMeanMomentum)):
            r = new["m"] = self.momentum * memory.m + r
        return -self.lr * r, memory._replace(**new)
