"""What a trial came to."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from edsl.as_json import as_json

STATUSES = ("ok", "diverged", "failed", "stopped")
CURVE_POINTS = 100  # of the training loss, kept with the result
CHECKPOINTS = 20  # evenly over the budget, where the validation split is looked at


@dataclass(frozen=True)
class Trial:
    """What one trial gave. Losses and accuracies are of the final weights, on whole splits.

    Of an optimizer that averages weights to evaluate with, they are of these.

    Attributes:
        status: "ok"; "diverged" (a loss that isn't finite, or a final training loss above the
            initial one); "failed" (the optimizer raised, see `reason`); "stopped" (a tuning trial that was hopeless,
            see `edsl.lab.trials.hopeless`).
        steps, evaluations, seconds: what was spent.
        step_ms: median milliseconds of a training step after the first, of which `optimizer_ms` are
            the optimizer's. first_step_s: seconds of the first step, compilation included.
        state_bytes: bytes of optimizer state per parameter, measured.
        curve: (step, loss of its batch) along the way.
        checkpoints: what was spent and what the validation split said then.
        measured: what the measures said, by step.
        regret: what the regret monitor saw, or None without it.
        looks: at each of the setting's levels that was reached and at the end, as `edsl.lab.trials.levels.Look`.
        test_examples: how many examples the test accuracy counts; 0 where it is no count of them.
    """

    spec: str
    seed: int
    status: str
    reason: str
    start_loss: float
    train_loss: float
    validation_loss: float
    test_loss: float
    validation_accuracy: float | None
    test_accuracy: float | None
    steps: int
    evaluations: int
    seconds: float
    step_ms: float
    optimizer_ms: float
    first_step_s: float
    state_bytes: float
    curve: tuple[tuple[int, float], ...]
    checkpoints: tuple[dict[str, Any], ...]
    measured: tuple[dict[str, Any], ...]
    regret: dict[str, float] | None
    looks: tuple[dict[str, Any], ...] = ()
    test_examples: int = 0

    def record(self) -> dict[str, Any]:
        """As JSON, where numbers that aren't finite are null."""
        return as_json(asdict(self))


def failed(spec: str, seed: int, reason: str) -> Trial:
    """A trial of which nothing is known but why."""
    nan = math.nan
    return Trial(
        spec, seed, "failed", reason, nan, nan, nan, nan, None, None, 0, 0, 0.0, nan, nan, nan, nan, (), (), (), None
    )
