"""How soon a race's trials come to targets of its metric: in steps, evaluations and seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from edsl.errors import EdslError, shown
from edsl.lab.races.race import Race
from edsl.lab.results.sequential import over_looks
from edsl.lab.results.statistics import ConfidenceInterval, compared, verdict
from edsl.lab.trials.setting import UNITS
from edsl.lab.trials.trial import CHECKPOINTS

ALONG = {"accuracy": "accuracy", "loss": "validation_loss", "train": "loss"}  # what a metric is at checkpoints


@dataclass(frozen=True)
class Reached:
    """Medians of what was spent when the validation split first was as good as a target.

    Attributes:
        reached: of `trials` trials so many came to it; the medians are over these.
        seconds: of training, the first step's compilation among them, without looks at the other splits.
        difference: in steps to it, this row's minus the baseline's, paired by seed, in whole spaces between two
            checkpoints; a trial that never came there ranks worst. None for the baseline, and of a target that
            nobody asked for, which is read off the baseline itself.
        verdict, family_wise: of the difference: fewer steps are better.
    """

    target: float
    reached: int
    trials: int
    steps: float | None
    evaluations: float | None
    seconds: float | None
    difference: ConfidenceInterval | None = None
    verdict: str = ""
    family_wise: str = ""


def read_targets(text: str | None, race: Race) -> tuple[float, ...]:
    """Targets from "20%,40%,60%" or "1.2,0.9", in the order in which they are written.

    Raises:
        EdslError: for text that is none, a target that is given twice, or one that the race's metric can't come to.
    """
    found: list[float] = []
    for part in [] if text is None else [part.strip() for part in text.split(",")]:
        percent = part.endswith("%")
        try:
            value = float(part.removesuffix("%")) / (100 if percent else 1)
        except ValueError:
            raise EdslError(f"--targets takes values such as 20%,40% or 0.3,0.1, got {shown(text)}") from None
        if percent and race.metric != "accuracy":
            raise EdslError(f"--targets {text}: a loss is no share; give its value, such as 0.3")
        if value in found:
            raise EdslError(f"--targets {text}: {part} is given twice; give each target once")
        found.append(value)
    return checked_targets(race, found)


def metric_text(race: Race, target: float) -> str:
    """A target as its metric is shown."""
    return f"{100 * target:.4g} %" if race.metric == "accuracy" else f"{target:.4g}"


def checked_targets(race: Race, targets: Sequence[float]) -> tuple[float, ...]:
    """Targets that a metric can come to.

    Raises:
        EdslError: for one that is not finite, or no accuracy.
    """
    for target in targets:
        if not (math.isfinite(target) and (race.metric != "accuracy" or 0 < target <= 1)):
            wanted = "an accuracy above 0 and at most 1, such as 0.9 or 90%"
            said = wanted if race.metric == "accuracy" else "a finite loss"
            raise EdslError(f"target must be {said}, got {target:g}")
    return tuple(targets)


def first_at(race: Race, trial: Mapping[str, Any], target: float) -> dict[str, Any] | None:
    """A trial's first checkpoint that is at the target or beyond; None where there is none."""
    for point in trial["checkpoints"]:
        value = point[ALONG[race.metric]]
        if value is not None and (value >= target if race.higher_is_better else value <= target):
            return point
    return None


def reached(
    race: Race, trials: Mapping[int, dict[str, Any]], target: float, baseline: Mapping[int, dict[str, Any]] | None
) -> Reached:
    """Read off the checkpoints: the first that is at the target or beyond.

    Args:
        baseline: whose steps to the target these are compared with, if any.
    """
    points = {seed: first_at(race, trial, target) for seed, trial in trials.items()}
    found = [point for point in points.values() if point is not None]
    steps, evaluations, seconds = (median(point[unit] for point in found) if found else None for unit in UNITS)
    reached = Reached(target, len(found), len(trials), steps, evaluations, seconds)
    if baseline is None:
        return reached
    seeds = [seed for seed in points if seed in baseline]
    theirs = {seed: first_at(race, baseline[seed], target) for seed in seeds}
    ours, others = ([_steps(side[seed]) for seed in seeds] for side in (points, theirs))
    space = max((trial["steps"] for trial in [*trials.values(), *baseline.values()]), default=0) / CHECKPOINTS
    difference = over_looks(compared(ours, others, False, space), race.looks) if seeds else None
    said = verdict(difference, False)
    return replace(reached, difference=difference, verdict=said, family_wise=said)


def _steps(point: Mapping[str, Any] | None) -> float | None:
    return None if point is None else point["steps"]
