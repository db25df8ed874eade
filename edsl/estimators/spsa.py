"""`spsa`: a gradient from values of the loss alone."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from edsl.errors import EdslWarning
from edsl.language.context import Value
from edsl.language.domain import Choice, Number, Switch, Whole, field, plain
from edsl.language.stage import Estimator, NoMemory

if TYPE_CHECKING:
    from edsl.step.oracle import Oracle


class PastParameters(NamedTuple):
    """θ_{k−2}, where the last step's gradient was taken."""

    past: Value


@dataclass(frozen=True)
class Spsa(Estimator):
    """Two-sided simultaneous perturbation: the mean of directional derivatives along random directions.

        g_k = (1/n) Σ_i [f(θ + σ z_i) − f(θ − σ z_i)] / (2σ) · z_i,   z_i = ±1 or N(0, 1) per element

    Source: Spall 1992, eq. 2.2 (two-sided form); Malladi et al. 2023, Algorithm 1 (MeZO) for
    directions that are drawn again from their seed instead of kept. The bias is O(σ²). Parameters
    are moved in place and come back bit for bit; beside the gradient itself there is one copy of
    them and one direction, whatever n is.

    The closure computes the loss and returns it: no backward(), nothing random. Of several processes
    of torch.distributed each has its part of the batch: losses are averaged over all of them.

    E behind it averages differences of consecutive estimates. Where each has directions of its own,
    these are mostly noise. `common=True` evaluates the loss at the last step's parameters too, along
    this step's directions, and gives E that difference; it needs `e(buffers=2)`.

    Args:
        sigma: σ > 0, the size of the perturbation, in units of the parameters.
        samples: n ≥ 1, directions a step, each at two evaluations of the loss.
        distribution: "rademacher" (±1) or "gaussian".
        seed: of the directions, a whole number ≥ 0.
        common: the same directions for both gradients of a difference, at twice the evaluations.

    Raises:
        EdslError: for a value outside its domain, or a step without a closure.

    Example:
        >>> import edsl
        >>> str(edsl.spsa(samples=8))
        'spsa(sigma=0.001, samples=8)'
    """

    name: ClassVar[str] = "spsa"
    needs_closure: ClassVar[bool] = True
    calls_backward: ClassVar[bool] = False
    draws_directions: ClassVar[bool] = True
    sigma: float = field(1e-3, Number(0, open_low=True), "σ")
    samples: int = field(1, Whole(1), "n")
    distribution: str = field("rademacher", Choice(("rademacher", "gaussian")))
    seed: int = field(0, Whole())
    common: bool = field(False, Switch())

    @property
    def forwards(self) -> float:
        return (4 if self.common else 2) * self.samples

    @property
    def backwards(self) -> float:
        return 0

    @property
    def gives_difference(self) -> bool:
        return self.common

    def without_difference(self) -> Spsa:
        return self.replace({"common": False})

    @property
    def copies(self) -> int:
        return int(self.common)  # the difference

    @property
    def equations(self) -> tuple[str, ...]:
        law = "zᵢ = ±1 in each element" if self.distribution == "rademacher" else "zᵢ ~ N(0, I)"
        lines = (law, "gₖ = (1/n) Σᵢ zᵢ (f(θₖ₋₁ + σ zᵢ) − f(θₖ₋₁ − σ zᵢ)) / (2 σ)")
        if self.common:
            return (*lines, "gₖ − gₖ₋₁: both along the directions of step k")
        return lines

    @property
    def noise(self) -> str:
        sign = "−" if self.distribution == "rademacher" else "+"
        law = f"‖∇f‖² {sign} ∂ᵢf²"
        law = f"({law})/{self.samples}" if self.samples > 1 else law
        return f"variance {law} in element i, which grows with the number of parameters"

    def init(self, zero: Value) -> NoMemory | PastParameters:
        return PastParameters(zero) if self.common else NoMemory()

    def evaluate(self, oracle: Oracle) -> Any:
        with oracle.restoring() as here:
            slopes, loss = self._slopes(oracle, here)
            before = slopes
            if self.common and oracle.k > 1:
                past = [slot.memory.past if slot.is_known else theta for slot, theta in zip(oracle.slots, here)]
                before, _ = self._slopes(oracle, past)
        for slot, theta in zip(oracle.slots, here):
            if self.common:
                slot.memory.past.copy_(theta)
                slot.difference = theta.clone().zero_()
            slot.gradient = theta.zero_()  # the copy has served: its memory takes the estimate
        for sample, (slope, past) in enumerate(zip(slopes, before)):
            for slot, estimate in zip(oracle.slots, here):
                z = oracle.direction(slot, self.seed, sample, self.distribution)
                if slot.difference is not None:
                    slot.difference.add_(z * (slope - past if oracle.k > 1 else slope))
                estimate.add_(z.mul_(slope))
        return loss

    def _slopes(self, oracle: Oracle, around: list[Any]) -> tuple[list[Any], Any]:
        """The directional derivatives around some parameters, over n; and the mean of all losses."""
        slopes, total = [], 0.0
        for sample in range(self.samples):
            sides = []
            for sigma in (self.sigma, -self.sigma):
                for slot, theta in zip(oracle.slots, around):
                    z = oracle.direction(slot, self.seed, sample, self.distribution)
                    step = z.mul_(sigma)
                    slot.parameter.copy_(theta + step if oracle.k == 1 else step.add_(theta))
                    if oracle.k == 1 and sample == 0:
                        self._check_moved(slot, theta, step)
                sides.append(oracle.loss())
            slopes.append((sides[0] - sides[1]) / (2 * self.sigma * self.samples))
            total = total + sides[0] + sides[1]
        return slopes, total / (2 * self.samples)

    def _check_moved(self, slot: Any, theta: Any, step: Any) -> None:
        """Warn where σ is lost in the rounding of the weights, so that the estimate would be wrong."""
        wanted = step.double()
        found = slot.parameter.detach().double() - theta.double()
        if (found - wanted).norm() > 0.1 * wanted.norm():
            warnings.warn(
                f"spsa: sigma={plain(self.sigma)} is lost in the rounding of parameter {slot.name} "
                f"({slot.parameter.dtype}): give a larger sigma, or keep weights in float32",
                EdslWarning,
                stacklevel=2,
            )
