"""`caution`: only steps that agree with the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edsl.language.context import At, Value
from edsl.language.domain import Number, field
from edsl.language.stage import NoMemory, Wrapper


@dataclass(frozen=True)
class Caution(Wrapper):
    """Drops the elements of a step that oppose the gradient, and scales up the others to compensate.

        φ = [−Δθ · g > 0],   Δθ ← Δθ φ / max(mean(φ), ε)        the mean over the layer

    Source: Liang et al. 2024, Algorithm 2 (Cautious Optimizers); g is the raw gradient. Decay in the
    base update is masked too; to keep it whole, set it to 0 there and write `decay` behind.

    Args:
        least: ε > 0, bounds the lengthening by 1/ε.

    Raises:
        EdslError: for a value outside its domain.

    Example:
        >>> import edsl
        >>> str(edsl.parse("lion(lr=0.001) | caution")).split(" | ")[-1]
        'caution(least=0.001)'
    """

    name: ClassVar[str] = "caution"
    least: float = field(1e-3, Number(0, open_low=True), "ε")

    def step(self, x: Value, memory: NoMemory, at: At) -> tuple[Value, NoMemory]:
        agrees = at.positive(-x * at.gradient)
        return x * (agrees / at.maximum(at.mean(agrees), self.least)), memory
