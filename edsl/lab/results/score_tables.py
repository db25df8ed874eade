"""The score over several tasks, as texts: for the terminal and the page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from edsl.lab.results.result_tables import MISSING, Line, ResultTable
from edsl.lab.results.scores import FARTHEST, PENALTY, UNITS, Score, Scores, TaskTimes
from edsl.lab.results.statistics import BETTER, FEWEST, UNDECIDED, WORSE, ConfidenceInterval
from edsl.lab.trials.trial import CHECKPOINTS


def score_table(found: Scores) -> ResultTable:
    """Scores, what each took over the baseline, and how often the target was reached."""
    lines = [Line(row.name, bool(row.control_of), _badly(row), _cells(row)) for row in found.rows]
    titles = (
        "score",
        "its 95 %\ninterval",
        "steps ×\nbaseline’s",
        "95 %\ninterval",
        "verdict",
        "seconds ×\nbaseline’s",
        "reached",
    )
    return ResultTable(titles, tuple(lines))


def by_task(found: Scores) -> ResultTable:
    """Median steps to each task's target, with seconds in brackets."""
    titles = tuple(f"{one.task}\n{_target(one)}" for one in found.tasks)
    cells = {row.name: tuple(_median(one, row.name) for one in found.tasks) for row in found.rows}
    return ResultTable(titles, tuple(Line(row.name, bool(row.control_of), "", cells[row.name]) for row in found.rows))


def findings(found: Scores) -> Iterator[str]:
    """What can be said over all tasks, as sentences."""
    for row in found.rows:
        if row.steps is None or row.name == found.baseline:
            continue
        amount = f"{_ratio(row.steps)} times its steps to target"
        if row.steps.low is not None and row.steps.high is not None:
            amount += f" (95 % interval {row.steps.low:.2f} to {row.steps.high:.2f})"
        if row.seconds is not None:
            amount += f", {_ratio(row.seconds)} times its seconds"
        if row.verdict == BETTER:
            said = f"{row.name} takes fewer steps than {found.baseline}: {amount}"
        elif row.verdict == WORSE:
            said = f"{row.name} takes more steps than {found.baseline}: {amount}"
        elif row.verdict == UNDECIDED:
            said = f"{row.name} and {found.baseline}: no difference in steps is shown, {amount}"
        else:
            said = f"{row.name} and {found.baseline}: {row.verdict}, {amount}"
        among = "" if row.family_wise == row.verdict else f"; among all verdicts here: {row.family_wise}"
        yield f"{said}{among}."


def notes(found: Scores) -> Iterator[str]:
    """How to read the tables."""
    yield (
        f"score: the integral of the performance profile to τ = {FARTHEST:g} (AlgoPerf’s), 1 for the fastest on each "
        "task; its interval is by bootstrap over tasks and seeds"
    )
    yield (
        "×: geometric means over tasks of steps and seconds to target, intervals by Student's t over tasks; a trial "
        f"that never came to the target is {PENALTY:g} budgets. Targets are read at {CHECKPOINTS} points of each "
        "trial; seconds are this machine's, and trials side by side disturb each other's"
    )
    if len(found.tasks) < FEWEST:
        yield f"with fewer than {FEWEST} tasks no speed is compared over tasks"
    else:
        yield f"a verdict is about tasks such as these {len(found.tasks)}, not about others"
    if found.left_out:
        yield f"left out, since no trial of the baseline ended well: {', '.join(found.left_out)}"


def _cells(row: Score) -> tuple[str, ...]:
    lost = math.isnan(row.profile)
    return (
        MISSING if lost else f"{row.profile:.2f}",
        MISSING if lost else f"{row.profile_low:.2f} to {row.profile_high:.2f}",
        _ratio(row.steps),
        _between(row.steps),
        row.family_wise,
        _ratio(row.seconds),
        f"{row.reached}/{row.trials}{_badly(row)}",
    )


def _badly(row: Score) -> str:
    return f" ({row.ended_badly} lost)" if row.ended_badly else ""


def _ratio(interval: ConfidenceInterval | None) -> str:
    return MISSING if interval is None else f"{interval.mean:.2f}"


def _between(interval: ConfidenceInterval | None) -> str:
    if interval is None or interval.low is None or interval.high is None:
        return MISSING
    return f"{interval.low:.2f} to {interval.high:.2f}"


def _target(one: TaskTimes) -> str:
    value = f"{100 * one.target:.1f} %" if one.metric == "accuracy" else f"{one.target:.3g}"
    return f"to {value}"


def _median(one: TaskTimes, name: str) -> str:
    steps, seconds = (median(one.spent[unit][name] or [math.inf]) for unit in UNITS)
    return "never" if math.isinf(steps) else f"{steps:.0f} ({seconds:.2g} s)"
