"""All that defines a trial, but for optimizer and seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edsl.language.pipeline import Pipeline
from edsl.language.schedules.group import ANY_TOTAL
from edsl.optim.compile import compile

UNITS = ("steps", "evaluations", "seconds")  # of a budget


@dataclass(frozen=True)
class Setting:
    """What all trials of a race share.

    Attributes:
        batch: examples of a step (an accumulation takes as many for each of its micro-batches), drawn
            without replacement within an epoch, the incomplete rest of which is dropped.
        budget: what a trial may spend, in `unit`: "steps"; "evaluations" of the loss, with or without
            its derivative, as the estimator needs; or "seconds" of training, without the looks at
            the other splits.
        schedule: the factor on every learning rate over the budget, see `edsl.lab.trials.schedule`.
        device: a torch device such as "cpu" or "cuda".
        threads: of the CPU; their number changes the order of sums, and so the last bits.
        monitor: "regret" to watch the condition of Theorem 2 that shows only while training, or "".
        measures: names of `edsl.lab.measures.catalogue`, measured at the checkpoints.
        levels: training losses at which sharpness and drift are measured, see `edsl.lab.trials.levels`.
    """

    task: str
    model: str
    batch: int
    budget: float
    device: str
    threads: int
    monitor: str = ""
    unit: str = "steps"
    schedule: str = "constant"
    measures: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()


def check_fit(pipeline: Pipeline, model: Any) -> None:
    """Raises EdslError when a pipeline can't take a model's parameters, such as muon a bias."""
    if not pipeline.update.moves_weights:
        compile(pipeline, model, mode="eager", total_steps=ANY_TOTAL)
