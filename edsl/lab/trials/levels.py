"""Looks at a run when its training loss first falls to some levels, and at its end: sharpness and drift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edsl.errors import EdslError

if TYPE_CHECKING:
    from edsl.lab.trials.training import Training

END = 0.0  # stands for the level "at the end of the budget"
NEAR = 1.5  # a batch's loss below this share of the level is worth an evaluation of the whole split


@dataclass(frozen=True)
class Look:
    """A run when its loss on the whole training split first was at a level, or at its end (level 0).

    Attributes:
        sharpness: the top eigenvalue of the loss's Hessian.
        drift: ‖θ−θ₀‖.
    """

    level: float
    step: int
    loss: float
    sharpness: float
    drift: float


class Looking:
    """The looks at one training; they change no bit of it."""

    def __init__(self, training: Training, levels: Sequence[float]) -> None:
        from edsl.lab.measures.measure import Run
        from edsl.lab.measures.movement import copies

        self._task, self._train = training.task, training.data.train
        self._run = Run(
            training.task, training.model, training.optimizer, training.pipeline, self._train, training.seed
        )
        self._start = copies(self._run)
        self._left = sorted(levels, reverse=True)
        self._near = 1.0 if training.setting.batch == len(self._train.inputs) else NEAR
        self.found: list[Look] = []

    def after(self, step: int, batch_loss: float) -> None:
        """Look after a step where its batch says that the next level may be reached."""
        if self._left and batch_loss <= self._near * self._left[0]:
            loss = self._loss()
            if loss <= self._left[0]:
                seen = self._seen()
                while self._left and loss <= self._left[0]:
                    self.found.append(Look(self._left.pop(0), step, loss, *seen))

    def end(self, step: int) -> None:
        """Look once more."""
        loss = self._loss()
        if math.isfinite(loss):
            self.found.append(Look(END, step, loss, *self._seen()))

    def records(self) -> tuple[dict[str, Any], ...]:
        return tuple(map(asdict, self.found))

    def _loss(self) -> float:
        from edsl.lab.trials.evaluation import evaluate

        return evaluate(self._task, self._run.model, self._train)[0]

    def _seen(self) -> tuple[float, float]:
        from edsl.lab.measures.curvature import top_eigenvalue
        from edsl.lab.measures.movement import distance

        return top_eigenvalue(self._run), distance(self._run, self._start)


def read_levels(text: str) -> tuple[float, ...]:
    """Levels from "1,0.3,0.1"; raises EdslError for anything else."""
    try:
        levels = tuple(dict.fromkeys(float(part) for part in text.split(",") if part))
    except ValueError:
        levels = ()
    if not levels or not all(0 < level < math.inf for level in levels):
        raise EdslError(f"--match-loss takes training losses above 0 such as 1,0.3,0.1, got {text!r}")
    return levels
