"""What a race allows to be said, and what it does not, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from edsl.lab.race import Race
from edsl.lab.results import NAMES, Effect, Results, Row

FEW = 5  # seeds, below which an interval is very wide


def question(race: Race) -> str:
    """What the race asks."""
    setting = race.setting
    where = f"on {setting.task} ({setting.model}) at batch {setting.batch}"
    if race.kind == "sweep":
        return f"How does {NAMES[race.metric]} depend on the hyper-parameters {where}?"
    if race.kind == "ablate":
        return f"Which parts of {race.baseline} matter {where}?"
    if race.kind == "sharpness":
        return f"Which optimizer is at flatter places when training losses are equal, {where}?"
    return f"Which optimizer gets the best {NAMES[race.metric]} {where}?"


def budget(race: Race) -> list[str]:
    """What everybody was given, as sentences."""
    setting, tuning = race.setting, race.tuning
    said = [
        f"Each trial has {setting.budget:g} {setting.unit}, the learning rate on a {setting.schedule} schedule.",
        f"Each optimizer has {race.seeds} final trial{'s' if race.seeds > 1 else ''}, on the same initial weights and "
        "the same order of batches as the others.",
    ]
    if tuning.tuner:
        how = {"grid": "a log grid that is extended at its edge and then refined", "tpe": "optuna's TPE"}
        by = how.get(tuning.tuner, "the same factors on its own")
        said.append(
            f"Each may try {tuning.trials} learning rates, by {by}, each on {tuning.seeds} seeds that no final trial "
            "uses; the best on the validation split is taken. What its own learning rate gives stands beside it."
        )
    else:
        said.append(
            "Learning rates are as the specs say: nothing was tuned, so a difference may be the learning rate's."
        )
    return said


def conclusions(race: Race, found: Results) -> list[str]:
    """What can be concluded."""
    said = []
    for row in found.rows:
        for effect in row.effects:
            if effect.against == race.baseline:
                said.append(_against(race, row, effect))
    for row in found.rows:
        controls = [
            effect for effect in row.effects if effect.against != race.baseline or _is_control(found, row, effect)
        ]
        if controls:
            said.append(_of_e(race, row, controls))
    return said


def _is_control(found: Results, row: Row, effect: Effect) -> bool:
    return any(other.name == effect.against and other.control_of == row.name for other in found.rows)


def _amount(race: Race, effect: Effect) -> str:
    """A difference with its interval, in the metric's units."""
    interval = effect.interval
    if interval is None:
        return ""
    scale, unit = (100, " percentage points") if race.metric == "accuracy" else (1, "")
    digits = 2 if scale == 100 else 4
    mean = f"{scale * interval.mean:+.{digits}f}{unit}"
    if interval.low is None or interval.high is None:
        return mean
    low, high = (f"{scale * end:+.{digits}f}" for end in (interval.low, interval.high))
    return f"{mean}, 95 % interval {low} to {high}, {interval.method}"


def _against(race: Race, row: Row, effect: Effect) -> str:
    amount = _amount(race, effect)
    amount = f" ({amount})" if amount else ""
    metric = NAMES[race.metric]
    if effect.verdict in ("better", "worse"):
        return f"{row.name} has a {effect.verdict} {metric} than {effect.against}{amount}."
    if effect.verdict == "equal":
        return f"{row.name} and {effect.against} have the same {metric} on every seed."
    if effect.verdict == "no difference shown":
        return f"{row.name} and {effect.against}: no difference in {metric} is shown{amount}."
    return f"{row.name} and {effect.against}: {effect.verdict}{amount}."


def _of_e(race: Race, row: Row, effects: Sequence[Effect]) -> str:
    """Whether what E does is E's."""
    parts = []
    for effect in effects:
        name = effect.against.removeprefix(f"{row.name}, ")
        amount = _amount(race, effect)
        parts.append(f"against {name}: {effect.verdict}{f' ({amount})' if amount else ''}")
    verdicts = [effect.verdict for effect in effects]
    if len(verdicts) > 1 and all(said == "better" for said in verdicts):
        end = "It helps beyond a slower momentum."
    elif verdicts and verdicts[0] == "better" and len(verdicts) > 1:
        end = "What it gains over its base, a slower momentum may gain too."
    elif all(said in ("no difference shown", "equal") for said in verdicts):
        end = "No effect of E is shown here."
    else:
        end = ""
    return f"E in {row.name}, {'; '.join(parts)}. {end}".strip()


def doubts(race: Race, found: Results) -> list[str]:
    """What can't be concluded, and why."""
    said = []
    comparisons = sum(effect.interval is not None for row in found.rows for effect in row.effects)
    if race.seeds == 1:
        said.append("There is one seed: nothing can be compared. Give --seeds 5 or more.")
    elif race.seeds < FEW:
        said.append(f"There are {race.seeds} seeds: only a large difference could show. Give --seeds {FEW} or more.")
    if comparisons > 1:
        said.append(
            f"There are {comparisons} intervals of 95 % each: about one in twenty excludes 0 by chance, so a single "
            "verdict among many is a lead, not a result."
        )
    edges = [row.name for row in found.rows if row.lr_on_edge]
    if edges:
        wider = "--lr a wider range of factors" if race.tuning.tuner == "fixed" else "more --trials"
        said.append(
            f"The best learning rate of {_listed(edges)} is the smallest or largest that was tried: a better one may "
            f"lie beyond. Give {wider}."
        )
    for row in found.rows:
        if row.diverged or row.failed:
            total = row.ok + row.diverged + row.failed
            said.append(f"{row.name}: {row.diverged + row.failed} of {total} final trials did not end well.")
    setting = race.setting
    said.append(
        f"One task, one model, one batch size and one budget were tried. {setting.budget:g} {setting.unit} need not "
        "tell what longer training or a larger model would; an average with decay 0.99 takes 100 steps to fill."
    )
    if any("grad | e" in row.spec or "| e(" in row.spec for row in found.rows) and not any(
        row.control_of for row in found.rows
    ):
        said.append("E's controls did not run: what it does may be what any slower momentum does.")
    return said


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
