"""`grad_pair`: the gradient, and its change since the last weights on the same batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from edsl.errors import EdslError
from edsl.estimators.backprop import Backprop
from edsl.language.context import Value
from edsl.language.stage import Estimator

if TYPE_CHECKING:
    from edsl.step.oracle import Oracle


class PastWeights(NamedTuple):
    """The weights before the last step."""

    past: Value


@dataclass(frozen=True)
class GradPair(Estimator):
    """The gradient by backpropagation, and how much of its change is the weights' and not the batch's.

        g_k = ∇f_k(θ_{k−1}),   g_k − g_{k−1} becomes ∇f_k(θ_{k−1}) − ∇f_k(θ_{k−2})        f_k: the loss of batch k

    for the stage behind it, which must read that difference: e(buffers=2), or a rule by `difference(u, past)`, such as
    the zoo's `mars`. Source: Yuan et al. 2025 (MARS). The closure is run twice from the second step on,
    with other random numbers if the model draws any; the loss returned is that at θ. Parameters come back bit for bit.

    Raises:
        EdslError: for a step without a closure, or sparse gradients.

    Example:
        >>> import edsl
        >>> edsl.parse("grad_pair | mars").line.partition(" | ")[0]
        'grad_pair'
    """

    name: ClassVar[str] = "grad_pair"
    example: ClassVar[str] = "grad_pair | e(buffers=2)"
    needs_closure: ClassVar[bool] = True

    @property
    def forwards(self) -> float:
        return 2

    @property
    def backwards(self) -> float:
        return 2

    @property
    def copies(self) -> int:
        return 3  # θ, the gradient, the difference

    @property
    def gives_difference(self) -> bool:
        return True

    def without_difference(self) -> Backprop:
        return Backprop()

    @property
    def equations(self) -> tuple[str, ...]:
        return ("gₖ = ∇f(θₖ₋₁)", "gₖ − gₖ₋₁: both on the batch of step k")

    @property
    def noise(self) -> str:
        return "minibatch (per-example variance / batch size); its part in the difference is that of the change alone"

    def init(self, zero: Value) -> PastWeights:
        return PastWeights(zero)

    def evaluate(self, oracle: Oracle) -> Any:
        loss = oracle.backprop()
        seen = [slot for slot in oracle.slots if slot.gradient is not None]
        now = [slot.gradient.detach().clone() for slot in seen if slot.gradient is not None]
        if any(gradient.is_sparse for gradient in now):
            raise EdslError("grad_pair needs dense gradients, got a sparse one (sparse=False)")
        if oracle.k > 1:
            with oracle.restoring() as here:
                for slot, theta in zip(oracle.slots, here):
                    slot.parameter.copy_(slot.memory.past if slot.is_known else theta)
                oracle.backprop(again=True)
        for slot, gradient in zip(seen, now):
            before = slot.gradient.detach() if oracle.k > 1 and slot.gradient is not None else 0
            slot.difference = gradient - before
            slot.gradient = gradient
            slot.memory.past.copy_(slot.parameter.detach())
        return loss
