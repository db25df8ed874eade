"""Sharpness and drift at matched training loss: the paper's Figure 3, without its confounder.

An optimizer that is further along is usually at a sharper or a flatter place because it is further
along. So every run is looked at when its whole training loss first falls to the same levels, and at
the end of the same number of steps beside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from edsl.errors import EdslError
from edsl.lab.measures.curvature import top_eigenvalue
from edsl.lab.measures.measure import Run
from edsl.lab.measures.movement import copies, distance
from edsl.lab.race import Race
from edsl.lab.statistics import Interval, paired
from edsl.lab.trial import Training, evaluate
from edsl.spec import parse

END = 0.0  # stands for the level "at the end of the budget"


@dataclass(frozen=True)
class Look:
    """One run when its training loss first was at a level, or at its end (level 0)."""

    name: str
    seed: int
    level: float
    step: int
    loss: float
    sharpness: float
    drift: float


@dataclass(frozen=True)
class Matched:
    """A spec at one level, over its seeds, beside the first spec.

    Attributes:
        reached: seeds that came to the level.
        steps, sharpness, drift: means over these.
        sharpness_ratio: geometric mean of the ratio to the first spec, paired by seed, with its interval.
        drift_difference: of the drift, minus the first spec's.
    """

    name: str
    level: float
    reached: int
    seeds: int
    steps: float
    sharpness: float
    drift: float
    sharpness_ratio: Interval | None
    drift_difference: Interval | None


def looks(race: Race, levels: Sequence[float], watch: Callable[[str, int, int], None]) -> list[Look]:
    """Train every entrant on every seed, and look at each level and at the end.

    Args:
        watch: called with name, seed and step.
    """
    return [
        look
        for entrant in race.entrants
        for seed in range(race.seeds)
        for look in _looks_of(race, entrant.name, entrant.spec, seed, levels, watch)
    ]


def _looks_of(
    race: Race, name: str, spec: str, seed: int, levels: Sequence[float], watch: Callable[[str, int, int], None]
) -> list[Look]:
    torch.set_num_threads(race.setting.threads)
    training = Training(race.task, race.setting, parse(spec), seed)
    training.compile()
    train = training.data.train
    run = Run(race.task, training.model, training.optimizer, training.pipeline, train, seed)
    start = copies(run)
    left = sorted(levels, reverse=True)
    found: list[Look] = []
    steps = int(race.setting.budget)
    whole = race.setting.batch == len(train.inputs)
    loss = math.nan
    for step in range(1, steps + 1):
        batch_loss = training.step(step - 1, step)
        if step % 50 == 0:
            watch(name, seed, step)
        if not math.isfinite(batch_loss):
            return found
        # a whole-split evaluation only where the batch says that the level may be reached
        if step == steps or (left and batch_loss <= (1.0 if whole else 1.5) * left[0]):
            loss, _ = evaluate(race.task, training.model, train)
            if left and loss <= left[0]:
                sharpness, drift = top_eigenvalue(run), distance(run, start)
                while left and loss <= left[0]:
                    found.append(Look(name, seed, left.pop(0), step, loss, sharpness, drift))
    found.append(Look(name, seed, END, steps, loss, top_eigenvalue(run), distance(run, start)))
    return found


def matched(race: Race, found: Sequence[Look]) -> list[Matched]:
    """One row for each level and entrant; ratios and differences are to the first entrant."""
    by: dict[tuple[str, float], dict[int, Look]] = {}
    for look in found:
        by.setdefault((look.name, look.level), {})[look.seed] = look
    levels = sorted({look.level for look in found}, reverse=True)
    first = race.entrants[0].name
    return [
        _row(race, entrant.name, level, by.get((entrant.name, level), {}), by.get((first, level), {}))
        for level in levels
        for entrant in race.entrants
    ]


def _row(race: Race, name: str, level: float, own: Mapping[int, Look], first: Mapping[int, Look]) -> Matched:
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
        sharpness_ratio=exponential(paired(ratios)) if ratios else None,
        drift_difference=paired(drifts) if drifts else None,
    )


def exponential(interval: Interval) -> Interval:
    """The interval of a ratio, from that of its logarithm."""
    ends = [None if end is None else math.exp(end) for end in (interval.low, interval.high)]
    return Interval(math.exp(interval.mean), ends[0], ends[1], interval.n, interval.method)


def read_levels(text: str) -> tuple[float, ...]:
    """Levels from "1,0.3,0.1"; raises EdslError for anything else."""
    try:
        levels = tuple(dict.fromkeys(float(part) for part in text.split(",") if part))
    except ValueError:
        levels = ()
    if not levels or not all(0 < level < math.inf for level in levels):
        raise EdslError(f"--match-loss takes training losses above 0 such as 1,0.3,0.1, got {text!r}")
    return levels


def picture(race: Race, found: Sequence[Look]) -> Any:
    """Sharpness and drift over the training loss at which they were measured: medians, bands from least to most."""
    from edsl.lab.report.pictures import figure_class, short, styles

    figure = figure_class()(figsize=(10, 4.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    style = styles(race)
    for axes, key, name in ((left, "sharpness", "sharpness λ_max"), (right, "drift", "drift ‖θ−θ₀‖")):
        for entrant in race.entrants:
            levels = sorted({x.level for x in found if x.name == entrant.name and x.level != END}, reverse=True)
            values = [[getattr(x, key) for x in found if x.name == entrant.name and x.level == at] for at in levels]
            if not levels:
                continue
            line = style[entrant.name]
            axes.plot(
                levels, [np.median(v) for v in values], marker="o", markersize=4, label=short(entrant.name), **line
            )
            low, high = [min(v) for v in values], [max(v) for v in values]
            axes.fill_between(levels, low, high, color=line["color"], alpha=0.12, linewidth=0)
        axes.set_xscale("log")
        axes.invert_xaxis()
        axes.set_xlabel("training loss at which it is measured (later →)")
        axes.set_ylabel(name)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(4, max(1, len(labels))), frameon=False, fontsize=8
    )
    return figure


def records(rows: Sequence[Matched]) -> list[dict[str, Any]]:
    return [asdict(row) for row in rows]
