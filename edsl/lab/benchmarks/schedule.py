"""What a schedule costs: steps whose lr has changed, beside steps whose lr has not, in turn in one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from edsl.errors import EdslError
from edsl.lab.benchmarks.contender import Contender, Entry, Gradients, Place
from edsl.lab.benchmarks.parameter_sets import Shape
from edsl.lab.benchmarks.rounds import WARM_UP
from edsl.lab.trials.clock import Clock

_RATES = (0.01, 0.009)


@dataclass(frozen=True)
class ScheduledStep:
    """The fastest step with an unchanged lr and with a new one, in microseconds."""

    constant_us: float
    scheduled_us: float

    @property
    def ratio(self) -> float:
        return self.scheduled_us / self.constant_us


def scheduled_step(
    spec: str = "alto", shapes: Sequence[Shape] = ((64,),) * 20, steps: int = 1000, device: str = "cpu"
) -> ScheduledStep:
    """Time steps of two optimizers in turn, of which one gets another lr before each, as by torch's schedulers.

    The fastest of many is compared, since what is measured is a few microseconds of Python.

    Args:
        steps: how many of each are timed.

    Raises:
        EdslError: for a bad spec, one without lr, or no step.

    Example:
        >>> from edsl.lab.benchmarks.schedule import scheduled_step
        >>> scheduled_step("adamw", steps=5).ratio > 0
        True
    """
    if steps < 1:
        raise EdslError(f"steps must be at least 1, got {steps}")
    named = {f"{place}": shape for place, shape in enumerate(shapes)}
    place = Place(device, "float32")
    constant, scheduled = Contender(Entry(spec), named, place), Contender(Entry(spec), named, place)
    groups = scheduled.optimizer.param_groups
    if any("lr" not in group for group in groups):
        raise EdslError(f"{spec} has no lr to schedule")
    gradients, clock = Gradients(named, place), Clock(torch.device(device))
    seconds: dict[str, list[float]] = {"constant": [], "scheduled": []}
    for number in range(WARM_UP + steps):
        for group in groups:
            group["lr"] = _RATES[number % 2]
        for name, runner in (("constant", constant), ("scheduled", scheduled)):
            runner.prepare(gradients.tensors)
            began = clock.now()
            runner.optimizer.step()
            seconds[name].append(clock.now() - began)
    return ScheduledStep(*(1e6 * min(seconds[name][WARM_UP:]) for name in ("constant", "scheduled")))
