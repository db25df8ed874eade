"""`e`: the adaptor E, which looks along valleys before the update steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from edsl.errors import FieldError
from edsl.language.context import At, Value
from edsl.language.domain import DECAY, Choice, Number, Switch, field, plain
from edsl.language.stage import Adaptor


class PastMean(NamedTuple):
    """ḡ_{k−1}, the EMA of past gradients: all that a constant β₁ needs."""

    mean: Value


class PastDifference(NamedTuple):
    """a_{k−1} and g_{k−1}, as the paper keeps them: needed when β₁ is scheduled."""

    a: Value
    g: Value


@dataclass(frozen=True)
class Exploration(Adaptor):
    """E: adds to the gradient α times an EMA of its own changes.

        a_k = β₁ a_{k−1} + (1−β₁)(g_k − g_{k−1}),   u_k = g_k + α a_k        (a₀ = 0, g₀ = 0)

    Source: Zhao et al. 2025, eq. 3 and Algorithm 5 (arXiv 2510.27153). α < 0 explores along valleys
    (large batches), α > 0 exploits.

    For a constant β₁ the same sequence needs one buffer, ḡ, the EMA of past gradients:

        a_k = (1−β₁)(g_k − ḡ_{k−1}),   ḡ_k = β₁ ḡ_{k−1} + (1−β₁) g_k          (ḡ₀ = 0)

    which is `buffers=1`, the default. `buffers=2` is the paper's form; use it when β₁ is scheduled.
    α may be scheduled in both.

    Args:
        alpha: α, the strength, |α| < 1/(1−β₁).
        beta1: β₁ in [0, 1), the decay of the EMA.
        start: the gradient before the first: "zero" as in the paper, or "first", which sets it to
            g₁, so that the first step is not multiplied by 1 + α(1−β₁).
        buffers: 1 or 2, see above; each has the parameter's shape.
        unchecked: lift the bound on α, with a warning.

    Raises:
        EdslError: for a value outside its domain, or |α| ≥ 1/(1−β₁).

    Example:
        >>> import edsl
        >>> str(edsl.e(alpha=-5, beta1=0.99))
        'e(alpha=-5, beta1=0.99)'
    """

    name: ClassVar[str] = "e"
    explores: ClassVar[bool] = True
    alpha: float = field(-5.0, Number(), "α")
    beta1: float = field(0.99, DECAY, "β₁")
    start: str = field("zero", Choice(("zero", "first")))
    buffers: int = field(1, Choice((1, 2)))
    unchecked: bool = field(False, Switch())

    @property
    def reads_difference(self) -> bool:
        return self.buffers == 2

    @property
    def constant(self) -> tuple[str, ...]:
        return ("beta1",) if self.buffers == 1 else ()

    @property
    def doubt(self) -> str:
        within = abs(self.alpha) < 1 / (1 - self.beta1)
        return "" if within else "e: |alpha| >= 1/(1 - beta1): outside the paper's bound, as unchecked=True allows"

    def check(self) -> None:
        bound = 1 / (1 - self.beta1)
        if abs(self.alpha) >= bound and not self.unchecked:
            raise FieldError(
                f"e: |alpha| must be less than 1/(1 - beta1) = {bound:.6g}, got alpha={plain(self.alpha)} "
                f"with beta1={plain(self.beta1)}; unchecked=True lifts the bound",
                "alpha",
            )

    def init(self, zero: Value) -> PastMean | PastDifference:
        return PastMean(zero) if self.buffers == 1 else PastDifference(zero, zero)

    def step(self, x: Value, memory: PastMean | PastDifference, at: At) -> tuple[Value, PastMean | PastDifference]:
        g = x
        if isinstance(memory, PastMean):
            past = at.first(g, memory.mean) if self.start == "first" else memory.mean
            a = (1 - self.beta1) * (g - past)
            mean = self.beta1 * past + (1 - self.beta1) * g
            return g + self.alpha * a, PastMean(mean)
        past = at.first(g, memory.g) if self.start == "first" else memory.g
        a = self.beta1 * memory.a + (1 - self.beta1) * at.difference(g, past)
        return g + self.alpha * a, PastDifference(a, g)
