"""One answer over several tasks: how soon each optimizer comes to each task's target.

Three figures, over the same trials: AlgoPerf's score, the geometric mean of steps to target over the baseline's, and
the same of seconds. Methods cost differently, so steps and seconds stand side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from edsl.errors import EdslError
from edsl.lab.races.race import Race
from edsl.lab.results.matched_loss import exponential
from edsl.lab.results.results import Trials, finals_of
from edsl.lab.results.statistics import ConfidenceInterval, holm, paired, verdict
from edsl.lab.results.targets import ALONG, first_at

FARTHEST = 4.0  # τ, beyond which AlgoPerf counts a task as not solved
PENALTY = 2.0  # times its budget is what a trial counts as that never comes to the target: PAR2
RESAMPLES = 2000
UNITS = ("steps", "seconds")


@dataclass(frozen=True)
class TaskTimes:
    """What the trials of one race took to its target.

    Attributes:
        task: its name. target: of the metric on the validation split.
        spent: by unit and optimizer, one number a seed; infinite where the target was never reached.
        budget: by unit and optimizer, what its trials spent at the most.
    """

    task: str
    metric: str
    target: float
    spent: Mapping[str, Mapping[str, tuple[float, ...]]]
    budget: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Score:
    """One optimizer over all tasks.

    Attributes:
        profile: AlgoPerf's score, ∫₁⁴ ρ(τ) dτ / 3, where ρ(τ) is the share of tasks on which its median steps to
            target are at most τ times the fastest's; with a percentile interval over tasks and seeds.
        profile_seconds: the same of seconds.
        steps, seconds: geometric means of what it took over what the baseline took, with 95 % intervals by
            Student's t over tasks; None for the baseline.
        verdict, family_wise: on steps: fewer are better.
        reached: trials that came to the target. trials: all of them. solved: tasks on which half of the trials did.
        ended_badly: trials that diverged or failed.
    """

    name: str
    control_of: str
    profile: float
    profile_low: float
    profile_high: float
    profile_seconds: float
    steps: ConfidenceInterval | None
    seconds: ConfidenceInterval | None
    verdict: str
    family_wise: str
    reached: int
    trials: int
    solved: int
    ended_badly: int

    def record(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Scores:
    """All optimizers, and the tasks that they are scored on. left_out: tasks whose baseline reached nothing."""

    rows: tuple[Score, ...]
    tasks: tuple[TaskTimes, ...]
    baseline: str
    left_out: tuple[str, ...]


def common_target(race: Race, finished: Sequence[Mapping[str, Any]]) -> float | None:
    """The value that every final trial of the baseline comes to at some checkpoint; None where none ended well.

    A target that the baseline misses by chance would make all others look fast.
    """
    trials: Trials = {(trial["spec"], trial["seed"]): dict(trial) for trial in finished}
    baseline = next(entrant for entrant in race.entrants if entrant.name == race.baseline)
    bests = []
    best, worst = (max, min) if race.higher_is_better else (min, max)
    for trial in finals_of(race, baseline, trials).values():
        values = [value for point in trial["checkpoints"] if (value := point[ALONG[race.metric]]) is not None]
        if trial["status"] == "ok" and values:
            bests.append(best(values))
    return worst(bests) if bests else None


def times_of(race: Race, finished: Sequence[Mapping[str, Any]], target: float) -> TaskTimes:
    """What each final trial of a race took to a target."""
    trials: Trials = {(trial["spec"], trial["seed"]): dict(trial) for trial in finished}
    spent: dict[str, dict[str, tuple[float, ...]]] = {unit: {} for unit in UNITS}
    budget: dict[str, dict[str, float]] = {unit: {} for unit in UNITS}
    for entrant in race.entrants:
        finals = finals_of(race, entrant, trials)
        later = [{**finals[seed], "checkpoints": finals[seed]["checkpoints"][1:]} for seed in sorted(finals)]
        points = [first_at(race, trial, target) for trial in later]  # none takes no step
        for unit in UNITS:
            spent[unit][entrant.name] = tuple(math.inf if point is None else point[unit] for point in points)
            budget[unit][entrant.name] = max((trial[unit] for trial in finals.values()), default=0.0)
    for unit in UNITS:  # a trial that diverged at once had the same budget as the others
        most = max(budget[unit].values(), default=0.0)
        budget[unit] = {name: most if unit == "steps" else value or most for name, value in budget[unit].items()}
    return TaskTimes(race.setting.task, race.metric, target, spent, budget)


def scores(races: Sequence[tuple[Race, Sequence[Mapping[str, Any]]]], targets: Sequence[float | None]) -> Scores:
    """One answer over races of the same optimizers on several tasks.

    Args:
        targets: of each race; None for `common_target`.

    Raises:
        EdslError: where the races have no optimizer in common, or other baselines.
    """
    baseline, names = _in_common([race for race, _ in races])
    times, left_out = [], []
    for (race, finished), target in zip(races, targets, strict=True):
        target = common_target(race, finished) if target is None else target
        if target is None:
            left_out.append(race.setting.task)
        else:
            times.append(times_of(race, finished, target))
    profiles = {unit: _profiles(times, names, unit) for unit in UNITS}
    rows = [_score(races, times, name, baseline, profiles) for name in names]
    judged = {row.name: p for row in rows if row.steps is not None and (p := row.steps.p) is not None}
    raised = dict(zip(judged, holm(list(judged.values()))))
    rows = [
        replace(row, family_wise=verdict(row.steps, False, raised[row.name])) if row.name in raised else row
        for row in rows
    ]
    return Scores(tuple(rows), tuple(times), baseline, tuple(left_out))


def times_records(found: Scores) -> list[dict[str, Any]]:
    """Median steps and seconds of each optimizer to each task's target; None where half of its trials never came."""
    return [
        {
            "task": one.task,
            "target": one.target,
            "optimizer": row.name,
            **{unit: _finite(median(one.spent[unit][row.name] or [math.inf])) for unit in UNITS},
        }
        for one in found.tasks
        for row in found.rows
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _in_common(races: Sequence[Race]) -> tuple[str, list[str]]:
    """The baseline, and the optimizers that are in all races."""
    baselines = {race.baseline for race in races}
    names = [
        entrant.name
        for entrant in races[0].entrants
        if all(entrant.name in {other.name for other in race.entrants} for race in races)
    ]
    if len(baselines) > 1 or not baselines <= {*names}:
        raise EdslError("races are scored together that have the same optimizers and the same baseline")
    return baselines.pop(), names


def _profiles(times: Sequence[TaskTimes], names: Sequence[str], unit: str) -> dict[str, tuple[float, float, float]]:
    """By optimizer AlgoPerf's score with its interval.

    Of each resample tasks are drawn with replacement, then seeds of each; the same for all optimizers.
    """
    if not times:
        return dict.fromkeys(names, (math.nan, math.nan, math.nan))
    seeds = min(len(one.spent[unit][name]) for one in times for name in names)
    if not seeds:
        return dict.fromkeys(names, (math.nan, math.nan, math.nan))
    costs = np.array([[one.spent[unit][name][:seeds] for one in times] for name in names])
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(times), size=(RESAMPLES, len(times)))
    within = generator.integers(seeds, size=(RESAMPLES, len(times), seeds))
    again = profile_scores(costs[:, drawn[..., None], within])
    low, high = np.percentile(again, [2.5, 97.5], axis=1)
    return {
        name: (float(score), float(a), float(b)) for name, score, a, b in zip(names, profile_scores(costs), low, high)
    }


def profile_scores(costs: Any) -> Any:
    """AlgoPerf's score of each solver, ∫₁⁴ ρ(τ) dτ / 3 = the mean over tasks of max(0, 4 − r) / 3.

    r is a solver's median cost over its trials divided by the least median of all; a task that nobody solves counts
    as 0 for all.

    Source: Dahl et al. 2023, section 4.3; Dolan and Moré 2002.

    Args:
        costs: (solvers, …, tasks, trials); infinite where a trial did not come to the target.

    Example:
        >>> from edsl.lab.results.scores import profile_scores
        >>> profile_scores([[[10.0], [40.0]], [[20.0], [10.0]]]).tolist()
        [0.5, 0.8333333333333333]
    """
    middle = np.median(np.asarray(costs, dtype=float), axis=-1)
    least = middle.min(axis=0)
    with np.errstate(invalid="ignore"):
        ratio = np.where(np.isfinite(middle), middle / least, np.inf)
    return np.clip((FARTHEST - ratio) / (FARTHEST - 1), 0, None).mean(axis=-1)


def log_ratios(times: Sequence[TaskTimes], name: str, baseline: str, unit: str) -> list[float]:
    """For each task the mean over seeds of log(what a trial took / what the baseline's of the same seed took).

    A trial that never came to the target counts as twice its budget (PAR2, Hutter et al. 2009).
    """

    def cost(one: TaskTimes, whose: str, seed: int) -> float:
        spent = one.spent[unit][whose][seed]
        return spent if math.isfinite(spent) else PENALTY * one.budget[unit][whose]

    found = []
    for one in times:
        seeds = min(len(one.spent[unit][name]), len(one.spent[unit][baseline]))
        both = [(cost(one, name, seed), cost(one, baseline, seed)) for seed in range(seeds)]
        logs = [math.log(ours / theirs) for ours, theirs in both if ours > 0 and theirs > 0]
        if logs:
            found.append(float(np.mean(logs)))
    return found


def _score(
    races: Sequence[tuple[Race, Sequence[Mapping[str, Any]]]],
    times: Sequence[TaskTimes],
    name: str,
    baseline: str,
    profiles: Mapping[str, Mapping[str, tuple[float, float, float]]],
) -> Score:
    reached = [sum(map(math.isfinite, one.spent["steps"][name])) for one in times]
    count = [len(one.spent["steps"][name]) for one in times]
    ratios: dict[str, ConfidenceInterval | None] = dict.fromkeys(UNITS)
    if name != baseline:
        for unit in UNITS:
            logs = log_ratios(times, name, baseline, unit)
            ratios[unit] = exponential(paired(logs)) if logs else None
    said = verdict(ratios["steps"], False) if name != baseline else "baseline"
    badly = sum(
        trial["status"] != "ok"
        for race, finished in races
        for entrant in race.entrants
        if entrant.name == name
        for trial in finals_of(race, entrant, {(t["spec"], t["seed"]): dict(t) for t in finished}).values()
    )
    control_of = next(entrant.control_of for entrant in races[0][0].entrants if entrant.name == name)
    return Score(
        name,
        control_of,
        *profiles["steps"][name],
        profiles["seconds"][name][0],
        ratios["steps"],
        ratios["seconds"],
        said,
        said,
        sum(reached),
        sum(count),
        sum(2 * some > all_ for some, all_ in zip(reached, count)),
        badly,
    )
