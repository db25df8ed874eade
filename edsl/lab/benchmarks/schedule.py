"""What a schedule costs: steps whose lr follows one, a scheduler's or the text's, beside steps of a constant lr."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edsl.errors import EdslError
from edsl.lab.benchmarks.contender import Contender, Entry, Gradients, Place
from edsl.lab.benchmarks.parameter_sets import Shape
from edsl.lab.benchmarks.rounds import WARM_UP, fastest
from edsl.language.schedules.schedule import Schedule, Scheduled
from edsl.language.spec import parse

_RATES = (0.01, 0.009)


@dataclass(frozen=True)
class ScheduledStep:
    """The fastest step in microseconds.

    Attributes:
        constant_us: with an unchanged lr.
        scheduled_us: with a new one, as a scheduler writes it.
        text_us: with a schedule in the text.
    """

    constant_us: float
    scheduled_us: float
    text_us: float

    @property
    def ratio(self) -> float:
        return self.scheduled_us / self.constant_us

    @property
    def text_ratio(self) -> float:
        return self.text_us / self.constant_us


def scheduled_step(
    spec: str = "alto", shapes: Sequence[Shape] = ((64,),) * 20, steps: int = 1000, device: str = "cpu"
) -> ScheduledStep:
    """Time steps of three optimizers in turn.

    One has a constant lr; one gets another before each step, as by torch's schedulers; one follows a schedule of its
    text, a cosine behind a warmup, so that its lr changes at each step too.

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
    pipeline = parse(spec)
    if "lr" not in pipeline.hyperparameters:
        raise EdslError(f"{spec} has no lr to schedule")
    total = 2 * (WARM_UP + steps)
    cosine = Scheduled(Schedule("cosine", _RATES[0], (("warmup", WARM_UP), ("steps", total))))
    runners = {
        "constant": Contender(Entry(spec), named, place),
        "scheduled": Contender(Entry(spec), named, place),
        "text": Contender(Entry("text", text=str(pipeline.override(lr=cosine))), named, place),
    }

    def set_rates(number: int) -> None:
        for group in runners["scheduled"].optimizer.param_groups:
            group["lr"] = _RATES[number % 2]

    took = fastest(runners, Gradients(named, place), device, steps, set_rates)
    return ScheduledStep(*(1e6 * took[name] for name in runners))
