"""Steps of several runners in turn, timed, and the ratios of their times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median, quantiles

import torch

from edsl.lab.benchmarks.contender import Contender, Copy, Gradients
from edsl.lab.trials.clock import Clock

WARM_UP = 3  # rounds before those that are timed
FEWEST = 3  # timed rounds, however little time there is


@dataclass(frozen=True)
class Spread:
    """Median and quartiles over the timed rounds."""

    median: float
    lower: float
    upper: float


def spread(values: Sequence[float], scale: float = 1.0) -> Spread:
    """Median and quartiles, times `scale`."""
    lower, _, upper = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    return Spread(scale * median(values), scale * lower, scale * upper)


def ratios(own: Sequence[float], others: Sequence[float]) -> list[float]:
    """One time by another, round by round."""
    return [one / other for one, other in zip(own, others, strict=True)]


def in_turn(
    runners: Sequence[Contender | Copy],
    gradients: Gradients,
    device: str,
    rounds: int,
    *,
    steps: int = 1,
    warm_up: int = WARM_UP,
    seconds: float = inf,
) -> dict[str, list[float]]:
    """Seconds of a step of each, in every timed round.

    Each round begins with another runner, so that none always follows the same.

    Args:
        steps: what each runner takes in a round, one after the other; their mean counts. With as many as an
            update's period, its refresh is in every mean.
        seconds: no further round begins after so many of timed ones, but for the first FEWEST.
    """
    took: dict[str, list[float]] = {runner.name: [] for runner in runners}
    began = inf
    for number in range(warm_up + rounds):
        if number == warm_up:
            began = time.monotonic()
        if number >= warm_up + FEWEST and time.monotonic() - began > seconds:
            break
        first = number % len(runners)
        for runner in (*runners[first:], *runners[:first]):
            own = [timed(runner, gradients, device) for _ in range(steps)]
            if number >= warm_up:
                took[runner.name].append(sum(own) / steps)
    return took


def fastest(
    runners: Mapping[str, Contender],
    gradients: Gradients,
    device: str,
    steps: int,
    before: Callable[[int], None] = lambda number: None,
) -> dict[str, float]:
    """Seconds of the fastest step of each, of so many in turn: what is left where a step is Python of a few µs.

    Args:
        before: called with the number of each round, outside what is timed.
    """
    took: dict[str, float] = dict.fromkeys(runners, inf)
    names = list(runners)
    for number in range(WARM_UP + steps):
        before(number)
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            own = timed(runners[name], gradients, device)
            if number >= WARM_UP:
                took[name] = min(took[name], own)
    return took


def timed(runner: Contender | Copy, gradients: Gradients, device: str) -> float:
    """Seconds of one step; gradients are set before it, and made whole after."""
    clock = Clock(torch.device(device))
    runner.prepare(gradients.tensors)
    began = clock.now()
    runner.step()
    took = clock.now() - began
    gradients.restore()
    return took
