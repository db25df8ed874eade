"""`repel`: the gradient, and −∇‖∇f‖² in the place of its change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edsl.estimators.backprop import Backprop
from edsl.language.stage import Estimator

if TYPE_CHECKING:
    from edsl.step.oracle import Oracle


@dataclass(frozen=True)
class Repel(Estimator):
    """The gradient, and how steeply its length falls, for E to average instead of the gradient's change.

        g_k = ∇f(θ_{k−1}),   g_k − g_{k−1} becomes −∇‖∇f‖² = −2 H g_k        one Hessian-vector product a step

    Source: Zhao et al. 2025, Table 1, beside E's difference. Behind α < 0 both brake a descent where f is concave and
    speed it where f is convex; on the way out of a minimum this one brakes where f is convex and speeds where it is
    concave, E's the other way round. E's difference is of a last step, and so has an η that −2 H g has not: an α as
    strong as E's is about η times that. The closure computes the loss and returns it, without backward(), uncompiled:
    torch.compile differentiates once. Of several processes of torch.distributed each has its part of the batch: g and
    H g are averaged over all of them.

    Raises:
        EdslError: for a step without a closure.

    Example:
        >>> import edsl
        >>> edsl.parse("repel | e(alpha=-0.1, buffers=2) | sgd").line.partition(" | ")[0]
        'repel'
    """

    name: ClassVar[str] = "repel"
    example: ClassVar[str] = "repel | e(buffers=2)"
    needs_closure: ClassVar[bool] = True
    calls_backward: ClassVar[bool] = False
    is_linear: ClassVar[bool] = False

    @property
    def backwards(self) -> float:
        return 2

    @property
    def copies(self) -> int:
        return 2  # the gradient, the product

    @property
    def gives_difference(self) -> bool:
        return True

    def without_difference(self) -> Backprop:
        return Backprop()

    @property
    def equations(self) -> tuple[str, ...]:
        return ("gₖ = ∇f(θₖ₋₁)", "gₖ − gₖ₋₁: −∇‖∇f(θₖ₋₁)‖² in its place")

    @property
    def noise(self) -> str:
        return "minibatch for the gradient; of the product also that of H"

    def evaluate(self, oracle: Oracle) -> Any:
        loss = oracle.differentiate(create_graph=True)
        gradients = [slot.gradient for slot in oracle.slots]
        directions = [
            slot.parameter.detach() * 0 if g is None else g.detach() for slot, g in zip(oracle.slots, gradients)
        ]
        products = oracle.hessian_times(directions, last=True)
        seen = [(slot, g.detach()) for slot, g in zip(oracle.slots, gradients) if g is not None]
        turned = [g * 0 if product is None else product for (_, g), product in zip(seen, products)]
        loss, *means = oracle.averaged([loss, *(g for _, g in seen), *turned])
        for place, (slot, _) in enumerate(seen):
            slot.gradient, slot.difference = means[place], -2 * means[len(seen) + place]
        return loss
