"""What a race says: one row for each entrant, with its differences, its doubts and its cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import mean, median, stdev
from typing import Any

from edsl.errors import EdslError
from edsl.lab.races.entrant import Entrant
from edsl.lab.races.learning_rate import learning_rates
from edsl.lab.races.race import Race
from edsl.lab.races.tuning.space import sensitivities
from edsl.lab.results.sequential import over_looks
from edsl.lab.results.statistics import (
    BETTER,
    FEWEST_RANKED,
    NOT_COMPARABLE,
    RESOLUTION,
    WORSE,
    ConfidenceInterval,
    compared,
    holm,
    verdict,
)
from edsl.lab.results.targets import ALONG, Reached, checked_targets, reached
from edsl.language.spec import parse

Trials = Mapping[tuple[str, int], dict[str, Any]]
FINAL = {"accuracy": "test_accuracy", "loss": "test_loss", "train": "train_loss"}  # what a metric reads at the end
NAMES = {"accuracy": "test accuracy", "loss": "test loss", "train": "training loss"}


@dataclass(frozen=True)
class Figure:
    """Mean and sample standard deviation over the trials that ended well; sd is None for one trial."""

    mean: float
    sd: float | None


@dataclass(frozen=True)
class Effect:
    """A row's difference to another's, paired by seed: of its metric, this one minus the other.

    Attributes:
        verdict: of this difference alone, at 95 %.
        family_wise: the same among all differences that are told with it, of the race or of a page of several:
            with Holm's correction, any false winner at all is as rare as one would be of a single difference.
        control: "without E" or "twin" where the other is this one's control.
    """

    against: str
    interval: ConfidenceInterval | None
    verdict: str
    family_wise: str
    control: str = ""


@dataclass(frozen=True)
class ResultRow:
    """One entrant. Figures are None where no trial ended well.

    Attributes:
        spec: that of its final trials, with the learning rate that tuning chose.
        lr: its learning rates by argument, or all that was tuned. lr_tried: how many were tried; lr_on_edge: the
            best of them is the smallest or largest, so that a better one may lie beyond.
        tuning_steps, tuning_stopped: of all its tuning trials the steps, and how many were stopped as hopeless.
        sensitivity: the share of the tuning scores' variance that each hyper-parameter explains, of a space.
        suboptimality: the training loss above the task's least, where that is known.
        default: the metric with the learning rate as given.
        effects: to the baseline, and of an entrant with E to each of its controls.
        targets: what it took to each target.
        regret_fired: the share of steps at which q of Theorem 2 fell in some coordinate, and
            regret_variation NV/√T, both where the regret monitor watched.
    """

    name: str
    spec: str
    control_of: str
    about: str
    lr: dict[str, Any]
    lr_tried: int
    lr_on_edge: bool
    ok: int
    diverged: int
    failed: int
    reasons: tuple[str, ...]
    train_loss: Figure | None
    test_loss: Figure | None
    test_accuracy: Figure | None
    suboptimality: Figure | None
    default: Figure | None
    effects: tuple[Effect, ...]
    targets: tuple[Reached, ...]
    step_ms: float | None
    optimizer_ms: float | None
    first_step_s: float | None
    state_bytes: float | None
    regret_fired: float | None
    regret_variation: float | None
    measures: dict[str, Figure]
    sensitivity: dict[str, float]
    tuning_steps: int = 0
    tuning_stopped: int = 0

    def record(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Results:
    """A race's rows, the targets that time was taken to, and how many differences of the metric are judged with these.

    Attributes:
        timed: how many differences in steps to a target are judged with these; 0 where nobody asked for a target.
    """

    rows: tuple[ResultRow, ...]
    targets: tuple[float, ...]
    verdicts: int
    timed: int = 0


def results(race: Race, finished: Sequence[dict[str, Any]], targets: Sequence[float] = ()) -> Results:
    """The rows of a race in the order of its entrants; each planned trial counts once, others not at all.

    Args:
        targets: of the metric on the validation split; the baseline's mean at its end by default.

    Raises:
        EdslError: for a target that the metric can't come to.
    """
    trials: Trials = {(trial["spec"], trial["seed"]): trial for trial in finished}
    finals = {entrant.name: finals_of(race, entrant, trials) for entrant in race.entrants}
    aims = checked_targets(race, targets) or _own_target(race, finals[race.baseline])
    rows = [_row(race, entrant, trials, finals, aims, bool(targets)) for entrant in race.entrants]
    return together([(race, Results(tuple(rows), aims, 0))])[0]


def together(found: Sequence[tuple[Race, Results]]) -> list[Results]:
    """Results that are told on one page, their family-wise verdicts among all differences of all the races.

    Differences of the metric are one family, those in steps to targets another.
    """
    judged = _Family(
        ((number, frozenset((row.name, effect.against))), effect.interval)
        for number, (_, one) in enumerate(found)
        for row in one.rows
        for effect in row.effects
    )
    timed = _Family(
        ((number, row.name, place), aim.difference)
        for number, (_, one) in enumerate(found)
        for row in one.rows
        for place, aim in enumerate(row.targets)
    )

    def told(number: int, race: Race, row: ResultRow) -> ResultRow:
        effects = tuple(
            replace(effect, family_wise=judged.verdict(key, effect.interval, race.higher_is_better))
            if (key := (number, frozenset((row.name, effect.against)))) in judged.raised
            else effect
            for effect in row.effects
        )
        targets = tuple(
            replace(one, family_wise=timed.verdict(key, one.difference, False))
            if (key := (number, row.name, place)) in timed.raised
            else one
            for place, one in enumerate(row.targets)
        )
        return replace(row, effects=effects, targets=targets)

    return [
        replace(
            one,
            rows=tuple(told(number, race, row) for row in one.rows),
            verdicts=len(judged.raised),
            timed=len(timed.raised),
        )
        for number, (race, one) in enumerate(found)
    ]


class _Family:
    """Differences whose probabilities Holm raises together; one that is given twice, from both sides, counts once."""

    def __init__(self, differences: Iterable[tuple[Any, ConfidenceInterval | None]]) -> None:
        held = {key: one.p for key, one in differences if one is not None and one.p is not None}
        self.raised = dict(zip(held, holm(list(held.values()))))

    def verdict(self, key: Any, interval: ConfidenceInterval | None, higher_is_better: bool) -> str:
        return verdict(interval, higher_is_better, self.raised[key])


def is_decided(found: Results, baseline: str) -> bool:
    """Whether every difference to the baseline is one of the family-wise verdicts better or worse."""
    said = [effect.family_wise for row in found.rows for effect in row.effects if effect.against == baseline]
    return bool(said) and all(word in (BETTER, WORSE) for word in said)


def finals_of(race: Race, entrant: Entrant, trials: Trials, spec: str | None = None) -> dict[int, dict[str, Any]]:
    """The final trials of an entrant, by seed."""
    spec = race.chosen(entrant, trials)[0] if spec is None else spec
    return {seed: trials[spec, seed] for seed in range(race.seeds) if (spec, seed) in trials}


def _well(trials: Mapping[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {seed: trial for seed, trial in trials.items() if trial["status"] == "ok"}


def _figure(values: Sequence[float]) -> Figure | None:
    return Figure(mean(values), stdev(values) if len(values) > 1 else None) if values else None


def _own_target(race: Race, baseline: Mapping[int, dict[str, Any]]) -> tuple[float, ...]:
    """The baseline's mean at its end, where it has one."""
    ends = [trial["checkpoints"][-1][ALONG[race.metric]] for trial in _well(baseline).values() if trial["checkpoints"]]
    values = [end for end in ends if end is not None]
    return (mean(values),) if values else ()


def _row(
    race: Race,
    entrant: Entrant,
    trials: Trials,
    finals: Mapping[str, Mapping[int, dict[str, Any]]],
    targets: Sequence[float],
    asked: bool,
) -> ResultRow:
    own = finals[entrant.name]
    against = finals[race.baseline] if asked and entrant.name != race.baseline else None
    well = list(_well(own).values())
    spec, edge, tried = race.chosen(entrant, trials)

    def values(key: str) -> list[float]:
        return [trial[key] for trial in well if trial[key] is not None]

    def middle(key: str) -> float | None:
        return median(values(key)) if values(key) else None

    def watched(key: str) -> float | None:
        found = [trial["regret"][key] for trial in well if trial.get("regret")]
        return mean(found) if found else None

    least = None if race.task.optimum is None else race.task.optimum()
    at_default = _well(finals_of(race, entrant, trials, entrant.spec)).values()
    return ResultRow(
        name=entrant.name,
        spec=spec,
        control_of=entrant.control_of,
        about=entrant.about,
        lr=race.tuned_values(spec) if race.tuning.space else _rates(spec),
        lr_tried=tried,
        lr_on_edge=edge,
        ok=len(well),
        diverged=sum(trial["status"] == "diverged" for trial in own.values()),
        failed=sum(trial["status"] == "failed" for trial in own.values()),
        reasons=tuple(dict.fromkeys(trial["reason"] for trial in own.values() if trial["reason"])),
        train_loss=_figure(values("train_loss")),
        test_loss=_figure(values("test_loss")),
        test_accuracy=_figure(values("test_accuracy")),
        suboptimality=None if least is None else _figure([loss - least for loss in values("train_loss")]),
        default=_figure([value for trial in at_default if (value := trial[FINAL[race.metric]]) is not None]),
        effects=tuple(
            _effect(race, own, finals[other], other, control) for other, control in _others(race, entrant).items()
        ),
        targets=tuple(reached(race, own, target, against) for target in targets),
        step_ms=middle("step_ms"),
        optimizer_ms=middle("optimizer_ms"),
        first_step_s=max(values("first_step_s"), default=None),
        state_bytes=middle("state_bytes"),
        regret_fired=watched("fired"),
        regret_variation=watched("per_root"),
        measures=_measures(well),
        sensitivity=_sensitivity(race, entrant, trials),
        **_tuning_spent(race, entrant, trials),
    )


def _tuning_spent(race: Race, entrant: Entrant, trials: Trials) -> dict[str, int]:
    """What an entrant's tuning trials took, as far as they have ended."""
    if not race.tuning.tuner:
        return {}
    keys = [work.key for candidate in race.tuned(entrant, trials)[0] for work in race.tuning_work(entrant, candidate)]
    ended = [trials[key] for key in keys]
    stopped = sum(trial["status"] == "stopped" for trial in ended)
    return {"tuning_steps": sum(trial["steps"] for trial in ended), "tuning_stopped": stopped}


def _sensitivity(race: Race, entrant: Entrant, trials: Trials) -> dict[str, float]:
    if not race.tuning.space:
        return {}
    scored, missing = race.tuned(entrant, trials)
    return {} if missing else sensitivities(race.space_of(entrant), scored)


def _rates(spec: str) -> dict[str, float]:
    try:
        return learning_rates(parse(spec))
    except EdslError:
        return {}


def _others(race: Race, entrant: Entrant) -> dict[str, str]:
    """Whom an entrant is compared to, the baseline first, then its controls: which control each is, or ""."""
    controls = {name: kind for kind, name in race.controls.get(entrant.name, {}).items()}
    others = {} if race.baseline == entrant.name else {race.baseline: ""}
    return others | controls


def _effect(
    race: Race, own: Mapping[int, dict[str, Any]], other: Mapping[int, dict[str, Any]], against: str, control: str
) -> Effect:
    seeds = [seed for seed in own if seed in other]
    ours, theirs = ([_end(race, trials[seed]) for seed in seeds] for trials in (own, other))
    resolution = _resolution(race, [*own.values(), *other.values()])
    interval = over_looks(compared(ours, theirs, race.higher_is_better, resolution), race.looks) if seeds else None
    said = verdict(interval, race.higher_is_better)
    lost = {"here": ours.count(None), f"of {against}": theirs.count(None)}
    if any(lost.values()) and sum(one != two for one, two in zip(ours, theirs)) < FEWEST_RANKED:
        counts = ", ".join(f"{count} {whose}" for whose, count in lost.items() if count)
        said = f"{NOT_COMPARABLE}: trials that diverged or failed: {counts}"
        interval = None if interval is None else replace(interval, p=None)
    return Effect(against, interval, said, said, control)


def _end(race: Race, trial: Mapping[str, Any]) -> float | None:
    """The metric of a final trial, or None for one that diverged or failed."""
    return trial[FINAL[race.metric]] if trial["status"] == "ok" else None


def _resolution(race: Race, trials: Sequence[Mapping[str, Any]]) -> float:
    """The step of an accuracy that counts examples; else what is rounding in a float32 metric of this size."""
    examples = max((trial.get("test_examples", 0) for trial in trials), default=0)
    if race.metric == "accuracy" and examples:
        return 1 / examples
    sizes = [abs(end) for trial in trials if (end := _end(race, trial)) is not None]
    return RESOLUTION * max(sizes, default=0.0)


def _measures(trials: Sequence[dict[str, Any]]) -> dict[str, Figure]:
    """Each measure at its last point of each trial."""
    lasts: dict[str, list[float]] = {}
    for trial in trials:
        last: dict[str, float] = {}
        for point in trial["measured"]:
            last |= {name: value for name, value in point.items() if name != "step" and value is not None}
        for name, value in last.items():
            lasts.setdefault(name, []).append(value)
    return {name: figure for name, values in lasts.items() if (figure := _figure(values)) is not None}
