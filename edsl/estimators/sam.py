"""`sam`: the gradient at the worst point nearby."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edsl.errors import EdslError
from edsl.language.domain import Number, Switch, field
from edsl.language.stage import Estimator

if TYPE_CHECKING:
    from edsl.step.oracle import Oracle


@dataclass(frozen=True)
class Sam(Estimator):
    """Sharpness-aware minimisation: the gradient at the perturbed point.

        g_k = ∇f(θ + ε),   ε = ρ ∇f(θ) / ‖∇f(θ)‖        the norm over all parameters
        adaptive:          ε = ρ θ² ∇f(θ) / ‖ |θ| ∇f(θ) ‖

    and −ε in a group that maximizes. Source: Foret et al. 2021, eq. 2 and 3; Kwon et al. 2021,
    eq. 11 (adaptive). The closure is run twice; the loss returned is that at θ. Parameters come back
    bit for bit.

    Args:
        rho: ρ ≥ 0, the radius, in units of the parameters (adaptive: relative to them).
        adaptive: the form that does not change when weights are rescaled.

    Raises:
        EdslError: for a value outside its domain, or a step without a closure.

    Example:
        >>> import edsl
        >>> str(edsl.sam(rho=0.1))
        'sam(rho=0.1)'
    """

    name: ClassVar[str] = "sam"
    needs_closure: ClassVar[bool] = True
    is_linear: ClassVar[bool] = False
    rho: float = field(0.05, Number(0), "ρ")
    adaptive: bool = field(False, Switch())

    @property
    def forwards(self) -> float:
        return 2

    @property
    def backwards(self) -> float:
        return 2

    @property
    def copies(self) -> int:
        return 3  # θ, the ascent, the second gradient

    @property
    def equations(self) -> tuple[str, ...]:
        if self.adaptive:
            return ("ĝₖ = ∇f(θₖ₋₁)", "gₖ = ∇f(θₖ₋₁ + ρ θₖ₋₁² ĝₖ / ‖all θₖ₋₁ ĝₖ‖)")
        return ("ĝₖ = ∇f(θₖ₋₁)", "gₖ = ∇f(θₖ₋₁ + ρ ĝₖ / ‖all ĝₖ‖)")

    @property
    def noise(self) -> str:
        return "minibatch, and a bias of about ρ H ∇f/‖∇f‖ by design"

    def evaluate(self, oracle: Oracle) -> Any:
        loss = oracle.backprop()
        moved = [(slot, slot.gradient.detach()) for slot in oracle.slots if slot.gradient is not None]
        if any(gradient.is_sparse for _, gradient in moved):
            raise EdslError("sam needs dense gradients, got a sparse one (sparse=False)")
        scale = [slot.parameter.detach() if self.adaptive else 1 for slot, _ in moved]
        norm = oracle.norm([g * t for (_, g), t in zip(moved, scale)])
        worse = [-1 if slot.maximize else 1 for slot, _ in moved]
        ascents = [sign * g * t * t for sign, (_, g), t in zip(worse, moved, scale)]
        with oracle.restoring():
            for (slot, _), ascent in zip(moved, ascents):
                slot.parameter.add_(ascent * (self.rho / norm.to(ascent.device)).nan_to_num(posinf=0.0))
            oracle.backprop(again=True)
        return loss
