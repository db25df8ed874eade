"""What a race allows to be said, and what it does not, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edsl.lab.races.controls import TWIN, WITHOUT, why_no_twin
from edsl.lab.races.race import Race
from edsl.lab.results.result_tables import MISSING, difference_texts, metric_scale
from edsl.lab.results.results import FINAL, NAMES, Effect, ResultRow, Results
from edsl.lab.results.scaling import findings
from edsl.lab.results.sequential import seeds_to_show
from edsl.lab.results.statistics import BETTER, FEWEST, UNDECIDED, WORSE
from edsl.lab.trials.hopeless import RULE
from edsl.language.spec import parse

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
        return f"Which optimizer is flatter at matched training loss, {where}?"
    return f"Which optimizer gets the best {NAMES[race.metric]} {where}?"


def budget(race: Race) -> list[str]:
    """What each optimizer was given, as sentences."""
    setting, tuning = race.setting, race.tuning
    own = any(parse(entrant.spec).schedules for entrant in race.entrants)
    said = [
        f"Each trial has {setting.budget:g} {setting.unit}, the learning rate on a {setting.schedule} schedule"
        f"{'; what a spec has on a schedule follows that' if own else ''}.",
        f"Each optimizer has {race.seeds} final trial{'s' if race.seeds > 1 else ''}, on the same initial weights and "
        "the same order of batches as the others.",
    ]
    if tuning.space:
        how = {
            "gp": "a Gaussian process of the scores' ranks",
            "quasi": "a Halton sequence",
            "tpe": "optuna's TPE",
            "cmaes": "optuna's CMA-ES",
        }[tuning.tuner]
        said.append(
            f"Each may try {tuning.trials} points of {tuning.space}, as far as it has these, by {how}, each on "
            f"{tuning.seeds} seeds that no final trial uses; the best on the validation split is taken. The result at "
            "its own values is shown next to it."
        )
    elif tuning.tuner:
        how = {"grid": "a log grid that is extended at its edge and then refined", "tpe": "optuna's TPE"}
        by = how.get(tuning.tuner, "the same factors on its own")
        said.append(
            f"Each may try {tuning.trials} learning rates, by {by}, each on {tuning.seeds} seeds that no final trial "
            "uses; the best on the validation split is taken. The result at its own learning rate is shown next to it."
        )
    if tuning.prune:
        said.append(RULE)
    if not tuning.tuner:
        said.append(
            "Learning rates are as the specs say: nothing was tuned, so a difference may be the learning rate's."
        )
    return said


def conclusions(race: Race, found: Results) -> list[str]:
    """What can be concluded."""
    to_baseline = [
        _against(race, row, effect, found.verdicts > 1)
        for row in found.rows
        for effect in row.effects
        if effect.against == race.baseline
    ]
    timed = any(one.difference for row in found.rows for one in row.targets)
    return [*to_baseline, *effects_of_e(race, found), *(findings([(race, found)]) if timed else ())]


def effects_of_e(race: Race, found: Results) -> Iterator[str]:
    """A sentence for each optimizer with E on what its controls say; none of a sweep, whose baseline is the control."""
    if race.kind == "sweep":
        return
    for row in found.rows:
        controls = [effect for effect in row.effects if effect.control]
        if controls:
            yield _of_e(race, row, controls, found.verdicts > 1)


def _amount(race: Race, effect: Effect, several: bool) -> str:
    """A difference with its interval in the metric's units, and how it was judged, in brackets; or nothing."""
    interval = effect.interval
    if interval is None:
        return ""
    scale = metric_scale(race)
    unit = " percentage points" if scale == 100 else ""
    mean, between = difference_texts(interval, scale)
    said = [f"{mean}{unit}"] if mean != MISSING else []
    if between != MISSING:
        said.append(f"95 % interval {between}")
    if interval.method == "no spread":
        said.append(f"the same on each of {interval.n} seeds, so there is no spread to test")
    if interval.method == "signed ranks" and interval.p is not None:
        said.append(f"by signed ranks, diverged and failed trials ranked worst, p = {interval.p:.2g}")
    if several and effect.family_wise != effect.verdict:
        said.append(f"among all verdicts here: {effect.family_wise}")
    return f" ({'; '.join(said)})" if said else ""


def _against(race: Race, row: ResultRow, effect: Effect, several: bool) -> str:
    amount, metric = _amount(race, effect, several), NAMES[race.metric]
    if effect.verdict in (BETTER, WORSE):
        return f"{row.name} has a {effect.verdict} {metric} than {effect.against}{amount}."
    if effect.verdict == UNDECIDED:
        return f"{row.name} and {effect.against}: no difference in {metric} is shown{amount}."
    return f"{row.name} and {effect.against}: {effect.verdict}{amount}."


def _of_e(race: Race, row: ResultRow, effects: Sequence[Effect], several: bool) -> str:
    """Whether what E does is E's: read from both controls, as far as there are two."""
    parts = [f"against {_called(row, effect)}: {effect.verdict}{_amount(race, effect, several)}" for effect in effects]
    verdicts = {effect.control: effect.verdict for effect in effects}
    return f"E in {row.name}, {'; '.join(parts)}. {_reading(row, verdicts)}"


def _called(row: ResultRow, effect: Effect) -> str:
    """A control by what it is, and by its name where it runs under one of its own."""
    what = {WITHOUT: "the same without E", TWIN: "its twin"}[effect.control]
    return what if effect.against == f"{row.name}, {effect.control}" else f"{what}, {effect.against}"


def _reading(row: ResultRow, verdicts: Mapping[str, str]) -> str:
    """What the verdicts against the controls say together."""
    base, twin = verdicts.get(WITHOUT, ""), verdicts.get(TWIN, "")
    if not base:
        return "It did not run without E, so the effect of E is unknown."
    if not twin:
        reason = why_no_twin(parse(row.spec))
        missing = f"It has no linear twin: {reason}." if reason else "Its twin did not run."
        if base == BETTER:
            return f"{missing} So what it gains over its base, another momentum may gain too."
        return f"{missing} No effect of E is shown here." if base == UNDECIDED else missing
    if base == BETTER:
        return {
            BETTER: "It helps beyond another momentum.",
            WORSE: "What it gains over its base, another momentum gains, and more.",
        }.get(twin, "What it gains over its base, another momentum may gain too.")
    if base == UNDECIDED:
        return {
            BETTER: "It is better than its twin, but no gain over its base is shown.",
            WORSE: "No effect of E on its base is shown, and its twin does better.",
            UNDECIDED: "No effect of E is shown here.",
        }.get(twin, "No effect of E on its base is shown.")
    return "It is worse with E than without." if base == WORSE else ""


def doubts(race: Race, found: Results) -> list[str]:
    """What can't be concluded, and why."""
    said = []
    if race.seeds == 1:
        said.append(f"There is one seed: nothing can be compared. Give --seeds {FEW} or more.")
    elif race.seeds < FEWEST:
        said.append(f"There are {race.seeds} seeds: below {FEWEST} nothing is compared. Give --seeds {FEW} or more.")
    elif race.seeds < FEW:
        said.append(f"There are {race.seeds} seeds: only a large difference could show. Give --seeds {FEW} or more.")
    if found.verdicts > 1:
        said.append(
            f"There are {found.verdicts} verdicts, each wrong in about one race of twenty where nothing differs: one "
            "among them is a lead, not a result. The family-wise ones (Holm) are all correct together in 95 % of "
            "such races."
        )
    said += _more_seeds(race, found)
    edges = [row.name for row in found.rows if row.lr_on_edge]
    if edges:
        wider = "--lr a wider range of factors" if race.tuning.tuner == "fixed" else "more --trials"
        wider, what = ("--tune wider ranges", "value") if race.tuning.space else (wider, "learning rate")
        said.append(
            f"The best {what} of {_listed(edges)} is the smallest or largest that was tried: a better one may "
            f"lie beyond. Give {wider}."
        )
    for row in found.rows:
        if row.diverged or row.failed:
            total = row.ok + row.diverged + row.failed
            said.append(f"{row.name}: {row.diverged + row.failed} of {total} final trials diverged or failed.")
    setting = race.setting
    said.append(
        f"One task, one model, one batch size and one budget were tried. {setting.budget:g} {setting.unit} need not "
        "predict longer training or a larger model; an average with decay 0.99 takes 100 steps to fill."
    )
    return [*said, *_missing_controls(race)]


def _more_seeds(race: Race, found: Results) -> Iterator[str]:
    """How many more seeds would show a difference of one point, or of 5 % of a loss, where none is shown."""
    base = next((getattr(row, FINAL[race.metric]) for row in found.rows if row.name == race.baseline), None)
    if base is None or race.looks:
        return
    difference, called = (0.01, "1 percentage point") if race.metric == "accuracy" else (0.05 * abs(base.mean), "5 %")
    for row in found.rows:
        for effect in row.effects:
            interval = effect.interval
            if effect.against != race.baseline or effect.verdict != UNDECIDED or interval is None or not interval.sd:
                continue
            needed = seeds_to_show(interval.sd, difference)
            if needed is None:
                more = "no number of seeds up to 10,000 would show"
            elif needed <= interval.n:
                yield f"{row.name}: a difference of {called} would have shown, 8 times in 10, by the spread seen here."
                continue
            else:
                many = needed - interval.n
                more = f"about {many} more seed{'s' if many > 1 else ''} would show, 8 times in 10,"
            yield f"{row.name}: by the spread seen here, {more} a difference of {called}."


def _missing_controls(race: Race) -> Iterator[str]:
    """What of E's controls did not run, and what there is none of."""
    specs = {entrant.name: entrant.spec for entrant in race.entrants}
    kinds = {name: set(controls) for name, controls in race.controls.items()}
    alone = [name for name, found in kinds.items() if WITHOUT not in found and race.kind != "sweep"]
    lacking = {name: why_no_twin(parse(specs[name])) for name, found in kinds.items() if TWIN not in found}
    left_out = [name for name, reason in lacking.items() if not reason]
    if alone:
        yield f"{_listed(alone)} did not run without E, so the effect of E is unknown."
    if left_out:
        yield f"The linear twin of {_listed(left_out)} did not run: what E does may be what another momentum does."
    for reason in dict.fromkeys(filter(None, lacking.values())):
        names = [name for name, why in lacking.items() if why == reason]
        has, its = ("has", "its") if len(names) == 1 else ("have", "their")
        yield f"{_listed(names)} {has} no linear twin ({reason}): what {its} E does may be what another momentum does."


def _listed(names: Sequence[str], most: int = 4) -> str:
    """Names in a sentence; of many, the first and how many more."""
    shown = [*names] if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    return shown[0] if len(shown) == 1 else f"{'; '.join(shown[:-1])} and {shown[-1]}"
