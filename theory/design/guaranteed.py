"""The rate that is certified for every smooth strongly convex function, for many hyper-parameters at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edsl.errors import EdslError
from edsl.theory.certificates.certificate import certified_rate
from edsl.theory.certificates.many import angles, rates
from edsl.theory.design.objective import Objective
from edsl.theory.stability.conditions import check_condition
from edsl.theory.systems.linearise import linearise
from edsl.theory.systems.loop import loop_of

_FEWEST = 40  # angles of each kind


@dataclass(frozen=True)
class Guarantee(Objective):
    """The smallest certified ρ on all f that are low-strongly convex with a high-Lipschitz gradient.

    Searched on a grid of angles in floats; what is reported is shown in exact arithmetic.
    """

    def check(self) -> None:
        """Raises EdslError, NotLinear among them, for what no certificate is of."""
        check_condition(self.condition)
        if not self.gradients.are_plain:
            raise EdslError(
                "a certificate is of gradients that are neither late nor noisy: --of certified takes neither"
            )
        linearise(self.pipeline)  # refuses what acts every few steps, by the stage's name

    @property
    def condition(self) -> float:
        return self.spectrum[1] / self.spectrum[0]

    def worst(self, values: Any, points: int) -> Any:
        """ρ for (P, free) values, on a grid of angles; above 1 where none is certified."""
        quadratic = self.rates(values, self.spectrum).max(axis=-1)
        quadratic = np.minimum(quadratic, 1e3)
        free, gain = self.polynomials(values, self.spectrum[1])
        return rates(free, gain, self.condition, quadratic, angles(max(points, _FEWEST)))

    def settled(self, values: dict[str, float]) -> tuple[float, float | None]:
        """(ρ of one choice of values, in exact arithmetic; None); 1 where none is certified."""
        found = certified_rate(loop_of(self.pipeline, **values), self.condition, self.spectrum[1])
        return (1.0 if found is None else found.rate), None
