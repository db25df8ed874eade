"""Sharpness and drift at matched training loss, as texts: for the terminal and the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edsl.lab.races.race import Race
from edsl.lab.results.matched_loss import FLATTER, SHARPER, Matched
from edsl.lab.results.result_tables import MISSING, WORDS, number_text
from edsl.lab.results.statistics import FEWEST, UNDECIDED, ConfidenceInterval
from edsl.lab.trials.levels import END

TITLES = (
    "optimizer",
    "seeds that\nreached it",
    "step",
    "sharpness",
    "over the first's",
    *WORDS,
    "drift",
    "− the first's",
)


@dataclass(frozen=True)
class LevelTable:
    """One level: what it is, and a row of cells for each optimizer under TITLES."""

    head: str
    rows: tuple[tuple[str, ...], ...]


def level_tables(rows: Sequence[Matched]) -> list[LevelTable]:
    """A table for each level that somebody came to, and one for the end."""
    levels = dict.fromkeys(row.level for row in rows)
    return [LevelTable(_head(level), tuple(_cells(row) for row in rows if row.level == level)) for level in levels]


def footnotes(race: Race, rows: Sequence[Matched]) -> list[str]:
    """How to read the tables, and which levels nobody came to."""
    missed = sorted({*race.setting.levels} - {row.level for row in rows}, reverse=True)
    return [
        *(f"No run reached a training loss of {level:g}: give more steps, or higher levels." for level in missed),
        f"The first is {race.entrants[0].name}; geometric mean ratios and mean differences, paired by seed, "
        "95 % intervals by Student's t.",
        *_judged(race, rows),
    ]


def _judged(race: Race, rows: Sequence[Matched]) -> Iterator[str]:
    verdicts = sum(row.sharpness_ratio is not None and row.sharpness_ratio.p is not None for row in rows)
    if race.seeds < FEWEST:
        yield f"With fewer than {FEWEST} seeds nothing is compared: give --seeds 5 or more."
    elif verdicts > 1:
        yield (
            f"{verdicts} verdicts on sharpness: each alone is wrong in at most 5 % of races without a difference, all "
            "family-wise ones together (Holm) in at most 5 %."
        )


def findings(race: Race, rows: Sequence[Matched]) -> Iterator[str]:
    """Who is at sharper or flatter places at each level, as sentences."""
    first = race.entrants[0].name
    for row in rows:
        ratio = row.sharpness_ratio
        if row.level == END or row.name == first or ratio is None:
            continue
        at = f"Where the training loss first is {row.level:g}"
        if row.verdict in (SHARPER, FLATTER):
            said = f"{row.name} is {row.verdict} than {first}: {_interval(ratio)} times"
        elif row.verdict == UNDECIDED:
            said = f"no difference in sharpness is shown between {row.name} and {first}: {_interval(ratio)} times"
        else:
            seeds = f"{ratio.n} seed{'s' if ratio.n > 1 else ''}"
            said = f"{row.name} has {ratio.mean:.3g} times the sharpness of {first}, on {seeds}: nothing is compared"
        among = "" if row.family_wise == row.verdict else f"; among all verdicts on sharpness: {row.family_wise}"
        yield f"{at}, {said}{among}."


def _head(level: float) -> str:
    if level == END:
        return "at the end, whatever the loss"
    return f"when the training loss first was {level:g} or less"


def _cells(row: Matched) -> tuple[str, ...]:
    there = bool(row.reached)
    return (
        row.name,
        f"{row.reached} of {row.seeds}",
        number_text(row.steps, ".0f") if there else "never",
        number_text(row.sharpness, ".4g") if there else MISSING,
        _interval(row.sharpness_ratio),
        row.verdict,
        row.family_wise,
        number_text(row.drift, ".4g") if there else MISSING,
        _interval(row.drift_difference),
    )


def _interval(interval: ConfidenceInterval | None) -> str:
    """A mean with its interval, as 1.02 (0.98 to 1.06)."""
    if interval is None:
        return ""
    if interval.low is None or interval.high is None:
        return f"{interval.mean:.3g}"
    return f"{interval.mean:.3g} ({interval.low:.3g} to {interval.high:.3g})"
