"""How a step's gradients come, as the options --delay, --batch-noise, --batch and --noise-scale say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edsl.errors import EdslError

if TYPE_CHECKING:
    from edsl.theory.stability.conditions import Gradients


@dataclass(frozen=True)
class Noise:
    """The options; None for those that are not given."""

    delay: int | None = None
    batch_noise: float | None = None
    batch: int | None = None
    noise_scale: float | None = None

    def gradients(self, calls: int) -> Gradients:
        """The gradients of a step that averages so many batches.

        Raises:
            EdslError: for options that contradict or need each other, and values outside their domains.
        """
        from edsl.theory.stability.conditions import Gradients

        if (self.batch is None) != (self.noise_scale is None):
            raise EdslError("--batch and --noise-scale go together: give both, or --batch-noise, or none")
        if self.batch is not None and self.batch_noise is not None:
            raise EdslError("--batch and --noise-scale give the noise: leave out --batch-noise")
        found = Gradients(self.delay or 0, self._noise(calls))
        found.check()
        return found

    def critical(self, largest: float | None) -> dict[str, Any]:
        """The batch from which on the curvature that was asked for is stable, where the noise scale is known."""
        if self.noise_scale is None:
            return {}
        return {"critical_batch": None if not largest else self.noise_scale / largest**2}

    def _noise(self, calls: int) -> float:
        if self.batch is None or self.noise_scale is None:
            return self.batch_noise or 0.0
        from edsl.theory.stability.batches import relative_noise

        return relative_noise(self.batch * calls, self.noise_scale)


NO_NOISE = Noise()
