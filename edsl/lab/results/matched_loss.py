"""Sharpness and drift at matched training loss: the paper's Figure 3, without its confounder.

An optimizer that is further along is usually at a sharper or a flatter place because it is further
along. So every run is looked at when its whole training loss first falls to the same levels, and at
the end of the same number of steps beside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from edsl.lab.races.race import Race
from edsl.lab.results.statistics import BETTER, RESOLUTION, WORSE, ConfidenceInterval, holm, paired, verdict
from edsl.lab.trials.levels import END, Look

SHARPER, FLATTER = "sharper", "flatter"


@dataclass(frozen=True)
class Matched:
    """A spec at one level, over its seeds, beside the first spec.

    Attributes:
        reached: seeds that came to the level.
        steps, sharpness, drift: means over these.
        sharpness_ratio: geometric mean of the ratio to the first spec, paired by seed, with its interval.
        drift_difference: of the drift, minus the first spec's.
        verdict: "sharper" or "flatter" than the first spec, or another word of `edsl.lab.results.statistics.verdict`.
        family_wise: the same among all verdicts of all levels (Holm).
    """

    name: str
    level: float
    reached: int
    seeds: int
    steps: float
    sharpness: float
    drift: float
    sharpness_ratio: ConfidenceInterval | None
    drift_difference: ConfidenceInterval | None
    verdict: str = ""
    family_wise: str = ""


@dataclass(frozen=True)
class Seen(Look):
    """A look at a run of one entrant with one seed."""

    name: str
    seed: int


def seen_in(race: Race, finished: Sequence[Mapping[str, Any]]) -> list[Seen]:
    """All looks that a race's trials hold, but for those where sharpness or drift was not finite.

    A trial that ended badly has no end to compare; the levels that it came to before stay.
    """
    names = {entrant.spec: entrant.name for entrant in race.entrants}
    return [
        Seen(**look, name=names[trial["spec"]], seed=trial["seed"])
        for trial in finished
        if trial["spec"] in names
        for look in trial.get("looks", ())
        if None not in look.values() and (trial["status"] == "ok" or look["level"] != END)
    ]


def matched(race: Race, found: Sequence[Seen]) -> list[Matched]:
    """One row for each level and entrant; ratios and differences are to the first entrant."""
    by: dict[tuple[str, float], dict[int, Seen]] = {}
    for look in found:
        by.setdefault((look.name, look.level), {})[look.seed] = look
    levels = sorted({look.level for look in found}, reverse=True)
    first = race.entrants[0].name
    rows = [
        _row(race, entrant.name, level, by.get((entrant.name, level), {}), by.get((first, level), {}))
        for level in levels
        for entrant in race.entrants
    ]
    judged = {row: p for row in rows if row.sharpness_ratio and (p := row.sharpness_ratio.p) is not None}
    raised = dict(zip(judged, holm(list(judged.values()))))
    return [
        replace(row, verdict=_verdict(row.sharpness_ratio), family_wise=_verdict(row.sharpness_ratio, raised.get(row)))
        if row.name != first and row.sharpness_ratio
        else row
        for row in rows
    ]


def _verdict(ratio: ConfidenceInterval | None, p: float | None = None) -> str:
    said = verdict(ratio, True, p)
    return {BETTER: SHARPER, WORSE: FLATTER}.get(said, said)


def _row(race: Race, name: str, level: float, own: Mapping[int, Seen], first: Mapping[int, Seen]) -> Matched:
    values = list(own.values())
    both = [(own[seed], first[seed]) for seed in own if seed in first] if name != race.entrants[0].name else []
    ratios = [math.log(a.sharpness / b.sharpness) for a, b in both if a.sharpness > 0 and b.sharpness > 0]
    drifts = [a.drift - b.drift for a, b in both]

    def mean(key: str) -> float:
        return float(np.mean([getattr(value, key) for value in values])) if values else math.nan

    return Matched(
        name=name,
        level=level,
        reached=len(values),
        seeds=race.seeds,
        steps=mean("step"),
        sharpness=mean("sharpness"),
        drift=mean("drift"),
        sharpness_ratio=exponential(paired(ratios, resolution=RESOLUTION)) if ratios else None,
        drift_difference=paired(drifts, resolution=RESOLUTION * max(a.drift for a, _ in both)) if drifts else None,
    )


def exponential(interval: ConfidenceInterval) -> ConfidenceInterval:
    """The interval of a ratio, from that of its logarithm."""
    ends = [None if end is None else math.exp(end) for end in (interval.low, interval.high)]
    return replace(interval, mean=math.exp(interval.mean), low=ends[0], high=ends[1])


def records(rows: Sequence[Matched]) -> list[dict[str, Any]]:
    """The rows for JSON."""
    return [asdict(row) for row in rows]
