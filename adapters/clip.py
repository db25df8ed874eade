"""`clip`: bounds the global norm, or every element, of what passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edsl.errors import EdslError
from edsl.language.context import At, Value
from edsl.language.domain import Number, field
from edsl.language.stage import Adaptor, NoMemory

POSITIVE = Number(0, open_low=True, optional=True)


@dataclass(frozen=True)
class Clip(Adaptor):
    """Gradient clipping: by the norm over all parameters, by element, or both in this order.

        u = g · min(1, c/‖g‖)  with ‖g‖ over all parameters;   u = max(−v, min(v, g))

    Source: Pascanu, Mikolov, Bengio 2013, Algorithm 1 (norm). A norm of zero leaves g as it is.

    Args:
        norm: c > 0, the bound on the global 2-norm.
        value: v > 0, the bound on each element's size.

    Raises:
        EdslError: if neither is given, or one is not positive.

    Example:
        >>> import edsl
        >>> str(edsl.clip(norm=1.0))
        'clip(norm=1)'
    """

    name: ClassVar[str] = "clip"
    example: ClassVar[str] = "clip(norm=1)"
    norm: float | None = field(None, POSITIVE, "c")
    value: float | None = field(None, POSITIVE, "v")

    @property
    def needs_total_norm(self) -> bool:
        return self.norm is not None

    def check(self) -> None:
        if self.norm is None and self.value is None:
            raise EdslError("clip: give norm=… (of all gradients together) or value=… (of each element)")

    def step(self, x: Value, memory: NoMemory, at: At) -> tuple[Value, NoMemory]:
        if self.norm is not None:
            x = x * at.minimum(1, at.ratio(self.norm, at.total_norm))
        if self.value is not None:
            x = at.clamp(x, self.value)
        return x, memory
