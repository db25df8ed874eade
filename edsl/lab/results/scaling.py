"""One task at several batches: what steps and seconds to each target become as the batch grows, as texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edsl.lab.races.race import Race, shown_value
from edsl.lab.results.result_tables import MISSING, UNITS, Line, ResultTable, figure_text, metric_scale, steps_text
from edsl.lab.results.results import FINAL, ResultRow, Results, results, together
from edsl.lab.results.scores import common_target
from edsl.lab.results.statistics import BETTER, NOT_COMPARABLE, WORSE
from edsl.lab.results.targets import Reached, metric_text
from edsl.lab.trials.trial import CHECKPOINTS

ByBatch = Sequence[tuple[Race, Results]]  # races that differ in their batch alone, told together


def shared_target(held: Sequence[tuple[Race, Sequence[Mapping[str, Any]]]]) -> tuple[float, ...]:
    """The value that every final trial of the baseline comes to, at every batch; nothing where there is none."""
    found = [common_target(race, finished) for race, finished in held]
    values = [value for value in found if value is not None]
    if len(values) < len(found):
        return ()
    return (min(values) if held[0][0].higher_is_better else max(values),)


def told_together(
    held: Sequence[tuple[Race, Sequence[dict[str, Any]]]], targets: Sequence[float] = ()
) -> list[tuple[Race, Results]]:
    """Races with their results, whose verdicts are family-wise among all of them.

    Args:
        targets: the same at each batch; `shared_target` by default.
    """
    aims = targets or shared_target(held)
    found = [(race, results(race, finished, aims)) for race, finished in held]
    return [(race, one) for (race, _), one in zip(found, together(found))]


def batch_tables(races: ByBatch) -> list[tuple[str, ResultTable]]:
    """By optimizer a line a batch: learning rate, steps with seconds to each target, and the metric at the end."""
    race, found = races[0]
    aims = [f"to {metric_text(race, target)}" for target in found.targets]
    titles = ("lr", *aims, f"{UNITS[race.metric]}")
    return [
        (
            first.name,
            ResultTable(
                titles,
                tuple(
                    Line(str(one.setting.batch), bool(row.control_of), _lost(row), _cells(one, row))
                    for one, row in zip([one for one, _ in races], _rows(races, first.name))
                ),
            ),
        )
        for first in found.rows
    ]


def findings(races: ByBatch) -> Iterator[str]:
    """What can be said, as sentences: who needs fewer steps, and what a larger batch saves."""
    race, found = races[0]
    for row in found.rows:
        if row.name != race.baseline and found.targets:
            yield _against_baseline(races, row.name)
    for row in found.rows:
        if not row.control_of and len(races) > 1 and found.targets:
            yield _scaling(races, row.name)


def notes(races: ByBatch, rule: str = "") -> Iterator[str]:
    """How to read the tables, and what they can't decide.

    Args:
        rule: how learning rates follow the batch, as `--scale-lr` has it.
    """
    race, found = races[0]
    yield (
        f"steps (seconds) to a target: medians of the trials that came to it, read at {CHECKPOINTS} points of each; "
        "seconds are of training on this machine, the first step's compilation among them, without these readings; "
        "trials side by side disturb each other's"
    )
    yield from _of_rates(races, rule)
    yield _of_budgets(races)
    if found.timed:
        yield (
            f"{found.timed} differences in steps are judged, paired by seed, in whole {CHECKPOINTS}ths of a trial, "
            "all family-wise verdicts right together in 95 % of such races (Holm); seconds are shown and not judged"
        )
    edges = [f"{row.name} at {one.setting.batch}" for one, each in races for row in each.rows if row.lr_on_edge]
    if edges:
        yield f"the best rate tried is the smallest or largest, so that a better one may lie beyond: {'; '.join(edges)}"
    yield f"one task ({race.setting.task}), one model ({race.setting.model}); other tasks scale otherwise"


def records(races: ByBatch) -> list[dict[str, Any]]:
    """A flat row for each optimizer, batch and target: for JSON and tables."""
    return [
        {
            "optimizer": row.name,
            "control_of": row.control_of,
            "batch": race.setting.batch,
            **row.lr,
            "target": one.target,
            "reached": one.reached,
            "trials": one.trials,
            "steps": one.steps,
            "seconds": one.seconds,
            "evaluations": one.evaluations,
            "steps_minus_baseline": one.difference and one.difference.mean,
            "low": one.difference and one.difference.low,
            "high": one.difference and one.difference.high,
            "p": one.difference and one.difference.p,
            "verdict": one.verdict,
            "family_wise": one.family_wise,
        }
        for race, found in races
        for row in found.rows
        for one in row.targets
    ]


def _rows(races: ByBatch, name: str) -> list[ResultRow]:
    return [next(row for row in found.rows if row.name == name) for _, found in races]


def _lost(row: ResultRow) -> str:
    lost = row.diverged + row.failed
    return f"{lost} of {row.ok + lost} lost" if lost else ""


def _cells(race: Race, row: ResultRow) -> tuple[str, ...]:
    rates = ", ".join(map(shown_value, row.lr.values())) or MISSING
    end = figure_text(getattr(row, FINAL[race.metric]), metric_scale(race))
    return rates, *(times_text(one) for one in row.targets), end


def times_text(one: Reached) -> str:
    """Steps with seconds to a target, such as "120 (0.8 s)"."""
    if one.steps is None or one.seconds is None:
        return "never"
    some = "" if one.reached == one.trials else f", {one.reached}/{one.trials}"
    return f"{one.steps:.0f} ({one.seconds:.2g} s{some})"


def _against_baseline(races: ByBatch, name: str) -> str:
    """Where an optimizer takes fewer or more steps than the baseline, family-wise among all that is judged."""
    race, _ = races[0]
    places: dict[str, list[str]] = {BETTER: [], WORSE: []}
    undecided = alone = 0
    for (one, _), row in zip(races, _rows(races, name)):
        for aim in row.targets:
            where = metric_text(one, aim.target) + (f" at batch {one.setting.batch}" if len(races) > 1 else "")
            if aim.family_wise in places:
                places[aim.family_wise].append(f"{where} ({_amount(aim)})")
            else:
                undecided += aim.family_wise != NOT_COMPARABLE
                alone += aim.family_wise == NOT_COMPARABLE
    said = [f"{word} steps to {', '.join(held)}" for word, held in zip(("fewer", "more"), places.values()) if held]
    if undecided:
        said.append(f"no difference is shown in {undecided} case{'s' if undecided > 1 else ''}")
    if alone:
        said.append(f"{alone} can't be compared: too few seeds, or no spread between them")
    return f"{name} beside {race.baseline}: {'; '.join(said)}."


def _amount(one: Reached) -> str:
    difference = one.difference
    assert difference is not None  # it has a verdict
    if difference.low is None or difference.high is None:
        return f"{steps_text(one)} steps, by signed ranks"
    return f"{difference.mean:+.0f}, 95 % {difference.low:+.0f} to {difference.high:+.0f}"


def _scaling(races: ByBatch, name: str) -> str:
    """What the largest batch saves, to the last target that all trials reach at both ends."""
    first, last = races[0][0], races[-1][0]
    here, there = _rows(races, name)[0], _rows(races, name)[-1]
    ratio = last.setting.batch / first.setting.batch
    who = f"{name}, from batch {first.setting.batch} to {last.setting.batch}"
    for one, other in reversed([*zip(here.targets, there.targets)]):
        if one.reached == one.trials and other.reached == other.trials and one.steps and other.steps:
            seconds = f"{other.seconds / one.seconds:.2g} times the seconds" if one.seconds and other.seconds else ""
            return (
                f"{who}: {other.steps / one.steps:.2g} times the steps and {seconds} to "
                f"{metric_text(first, one.target)} (medians; 1/{ratio:g} = {1 / ratio:.2g} of the steps would be "
                "perfect scaling)."
            )
    return f"{who}: no target is reached by all trials at both, so nothing is said of scaling."


def _of_rates(races: ByBatch, rule: str) -> Iterator[str]:
    race = races[0][0]
    if race.tuning.tuner:
        what = ", ".join(dimension.name for dimension in race.tuning.dimensions) or "the learning rate"
        how = f"{race.tuning.trials} tried on {race.tuning.seeds} seeds of their own"
        yield f"{what} is tuned at each batch by itself, with as many trials for all: {how}"
    elif rule:
        factor = "the batch's ratio" if rule == "linear" else "the root of the batch's ratio"
        yield (
            f"learning rates are the specs' at batch {race.setting.batch}, times {factor} beyond ({rule}): a rule, "
            "which need not give any optimizer its best rate"
        )
    elif len(races) > 1:
        yield (
            "learning rates are the specs' at every batch: what the batch does and what the rate does can't be told "
            "apart; --scale-lr tuned tunes at each"
        )


def _of_budgets(races: ByBatch) -> str:
    first, last = races[0][0].setting, races[-1][0].setting
    if len(races) == 1:
        return f"each trial has {first.budget:g} {first.unit}"
    if first.budget == last.budget and first.unit == last.unit:
        times = f"; at batch {last.batch} that is {last.batch / first.batch:.3g} times the examples of {first.batch}"
        return f"each trial has {first.budget:g} {first.unit} at every batch{times if first.unit == 'steps' else ''}"
    each = ", ".join(f"{race.setting.budget:g} at {race.setting.batch}" for race, _ in races)
    return f"each trial has as many examples at every batch, and so fewer {first.unit}: {each}"
