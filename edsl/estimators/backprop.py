"""`grad`: the gradient that backward() left in each parameter, or its mean over micro-batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from edsl.language.context import Value
from edsl.language.domain import Whole, field
from edsl.language.stage import Estimator, NoMemory

if TYPE_CHECKING:
    from edsl.step.oracle import Oracle


class Accumulated(NamedTuple):
    """The sum of the micro-batches' gradients since the last step."""

    sum: Value


@dataclass(frozen=True)
class Backprop(Estimator):
    """The gradient of the loss by backpropagation, read from `p.grad`.

        g_k = ∇f(θ_{k−1}),   or with accumulate=n   g_k = (1/n) Σ_i ∇f_i(θ_{k−1})

    over n micro-batches: each call of `step()` takes one, and every n-th call steps. Zero the
    gradients before each backward(), as in any training loop.

    Args:
        accumulate: n ≥ 1, the micro-batches of a step; above 1 it keeps one buffer.

    Raises:
        EdslError: for a value outside its domain.

    Example:
        >>> import edsl
        >>> str(edsl.grad() | edsl.sgd(lr=0.1))
        'grad | sgd(lr=0.1, momentum=0, weight_decay=0)'
    """

    name: ClassVar[str] = "grad"
    accumulate: int = field(1, Whole(1), "n")

    @property
    def forwards(self) -> float:
        return self.accumulate

    @property
    def backwards(self) -> float:
        return self.accumulate

    @property
    def calls(self) -> int:
        return self.accumulate

    @property
    def passes_grad(self) -> bool:
        return type(self) is Backprop and self.accumulate == 1  # a stage made of it may do more

    @property
    def copies(self) -> int:
        return int(self.accumulate > 1)  # the mean

    @property
    def equations(self) -> tuple[str, ...]:
        if self.accumulate > 1:
            return ("gₖ = (1/n) Σᵢ ∇fᵢ(θₖ₋₁)",)
        return super().equations

    @property
    def noise(self) -> str:
        parts = f", divided by {self.accumulate}" if self.accumulate > 1 else ""
        return f"minibatch (per-example variance / batch size){parts}"

    def init(self, zero: Value) -> NoMemory | Accumulated:
        return Accumulated(zero) if self.accumulate > 1 else NoMemory()

    def evaluate(self, oracle: Oracle) -> Any:
        loss = oracle.backprop()
        if self.accumulate == 1:
            return loss
        oracle.ready = oracle.calls + 1 >= self.accumulate
        for slot in oracle.slots:
            if slot.gradient is not None:
                slot.memory.sum.add_(slot.gradient.detach())
            elif not slot.is_known or (oracle.ready and oracle.is_zero(slot.memory.sum)):
                continue  # it had no gradient since the last step
            if oracle.ready:
                slot.gradient = slot.memory.sum / self.accumulate
                slot.memory.sum.zero_()
        return loss
