"""`noise`: Gaussian noise added to the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edsl.language.context import At, Value
from edsl.language.domain import Number, Whole, field
from edsl.language.stage import Adaptor, NoMemory


@dataclass(frozen=True)
class Noise(Adaptor):
    """Annealed Gaussian gradient noise.

        u_k = g_k + σ k^(−γ/2) ξ_k,   ξ_k ~ N(0, I)

    Source: Neelakantan et al. 2015, eq. 1 (their η is σ²). ξ is a function of the seed, the step and
    the parameter alone: a resumed run draws the same noise, and torch's global generator is untouched.

    Args:
        std: σ ≥ 0, the standard deviation at the first step, in units of the gradient.
        gamma: γ ≥ 0, the speed of annealing; 0 keeps σ.
        seed: of the noise, a whole number ≥ 0.

    Raises:
        EdslError: for a value outside its domain.

    Example:
        >>> import edsl
        >>> str(edsl.noise(std=0.1))
        'noise(std=0.1, gamma=0.55)'
    """

    name: ClassVar[str] = "noise"
    needs_noise: ClassVar[bool] = True
    std: float = field(0.01, Number(0), "σ")
    gamma: float = field(0.55, Number(0), "γ")
    seed: int = field(0, Whole())

    def step(self, x: Value, memory: NoMemory, at: At) -> tuple[Value, NoMemory]:
        return x + self.std * at.k ** (-self.gamma / 2) * at.normal, memory
