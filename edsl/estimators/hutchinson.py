"""`hutchinson`: the gradient, and an estimate of the Hessian's diagonal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edsl.language.domain import Choice, Switch, Whole, field
from edsl.language.stage import Estimator

if TYPE_CHECKING:
    from edsl.step.oracle import Oracle


@dataclass(frozen=True)
class Hutchinson(Estimator):
    """Gradient and Hessian diagonal by differentiating twice, for second-order updates.

        g_k = ∇f(θ),   D_k = (1/n) Σ_i z_i ⊙ ∇(∇f(θ)·z_i)        z_i = ±1 or N(0, 1) per element

    Source: Hutchinson 1990; Yao et al. 2021, eq. 9 and 10 (AdaHessian). E[D] = diag(H); for ±1 and a
    diagonal H it is exact. D is estimated at each parameter's steps 1, 1 + every, …; between them the
    update keeps what it has.

    Directions are functions of the parameter's name (or place), the step and the seed: a resumed run draws the
    same. The closure computes the loss and returns it, without backward(), uncompiled: torch.compile
    differentiates once. Of several processes of torch.distributed each has its part of the batch: both are
    averaged over all of them.

    Args:
        samples: n ≥ 1, Hessian-vector products a look.
        every: steps from one look to the next, ≥ 1.
        distribution: "rademacher" (±1) or "gaussian".
        seed: of the directions, a whole number ≥ 0.
        spatial: for kernels of convolutions, the mean of |D| over the kernel's positions.

    Raises:
        EdslError: for a value outside its domain, or a step without a closure.

    Example:
        >>> import edsl
        >>> str(edsl.hutchinson(every=10) | edsl.sophia(lr=0.001)).split(" | ")[0]
        'hutchinson(every=10)'
    """

    name: ClassVar[str] = "hutchinson"
    needs_closure: ClassVar[bool] = True
    calls_backward: ClassVar[bool] = False
    gives_hessian: ClassVar[bool] = True
    samples: int = field(1, Whole(1), "n")
    every: int = field(1, Whole(1))
    distribution: str = field("rademacher", Choice(("rademacher", "gaussian")))
    seed: int = field(0, Whole())
    spatial: bool = field(False, Switch())

    @property
    def backwards(self) -> float:
        return 1 + self.samples / self.every

    @property
    def copies(self) -> int:
        return 3  # directions, products, the diagonal

    def looks(self, k: int) -> int:
        return (k - 1) // self.every + 1

    @property
    def equations(self) -> tuple[str, ...]:
        law = "zᵢ = ±1 in each element" if self.distribution == "rademacher" else "zᵢ ~ N(0, I)"
        when = "" if self.every == 1 else f"   (at step 1 and every {self.every} steps)"
        return ("gₖ = ∇f(θₖ₋₁)", law, f"Dₖ = (1/n) Σᵢ zᵢ ⊙ ∇(∇f(θₖ₋₁)·zᵢ){when}")

    @property
    def noise(self) -> str:
        law = f"Σⱼ Hᵢⱼ² {'−' if self.distribution == 'rademacher' else '+'} Hᵢᵢ²"
        law = f"({law})/{self.samples}" if self.samples > 1 else law
        return f"minibatch for the gradient; variance {law} in element i of the diagonal"

    def evaluate(self, oracle: Oracle) -> Any:
        due = [slot for slot in oracle.slots if self.looks(slot.k) > self.looks(slot.k - 1)]
        looks = any(slot.is_known for slot in due) or not any(slot.is_known for slot in oracle.slots)
        loss = oracle.differentiate(create_graph=looks)
        if not looks and any(slot.gradient is not None for slot in due):  # a parameter joins between two looks
            looks, loss = True, oracle.differentiate(create_graph=True)
        if looks:
            self._look(oracle, due)
        found = [(slot, slot.gradient.detach()) for slot in oracle.slots if slot.gradient is not None]
        loss, *means = oracle.averaged([loss, *(gradient for _, gradient in found)])
        for (slot, _), mean in zip(found, means):
            slot.gradient = mean
        return loss

    def _look(self, oracle: Oracle, due: list[Any]) -> None:
        diagonals = [slot.parameter.detach() * 0 for slot in oracle.slots]
        for sample in range(self.samples):
            z = [oracle.direction(slot, self.seed, sample, self.distribution) for slot in oracle.slots]
            for diagonal, part, product in zip(diagonals, z, oracle.hessian_times(z, sample == self.samples - 1)):
                if product is not None:
                    diagonal.add_(part * product / self.samples)
        for slot, diagonal in zip(oracle.slots, oracle.averaged(diagonals)):
            if slot in due:
                is_kernel = self.spatial and diagonal.dim() == 4
                slot.hessian = _over_positions(diagonal) if is_kernel else diagonal


def _over_positions(diagonal: Any) -> Any:
    """The mean size over a kernel's positions, at each of them."""
    return diagonal.abs().mean(dim=(2, 3), keepdim=True).expand_as(diagonal).clone()
