"""A race from what a user asks for, checked."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edsl.errors import EdslError, either, nearest, shown
from edsl.lab.data.seeded import seeded
from edsl.lab.races.controls import controls_of
from edsl.lab.races.entrant import Entrant
from edsl.lab.races.learning_rate import learning_rates, scaled
from edsl.lab.races.race import METRICS, Race, Tuning
from edsl.lab.races.record import Record
from edsl.lab.races.tuning.rates import check_tuner
from edsl.lab.races.tuning.samplers import SAMPLERS, check_sampler
from edsl.lab.races.tuning.space import read_space
from edsl.lab.tasks.catalogue import task as task_named
from edsl.lab.tasks.check import check
from edsl.lab.tasks.own import find_again as find_task_again
from edsl.lab.tasks.task import Task
from edsl.lab.trials.device import usable_device
from edsl.lab.trials.schedule import schedule as schedule_named
from edsl.lab.trials.setting import UNITS, Setting, check_fit
from edsl.language.registry.plugins import Plugin, find_again, load_once, plugins_of
from edsl.language.rules.texts import has_rules, line_of
from edsl.language.spec import parse

FIRST_LOOK, GROWTH = 5, 1.5  # seeds of the first look of a race that may stop early, and from one look to the next


def race(
    task: str | Task,
    specs: Sequence[str | Entrant],
    *,
    model: str | None = None,
    batch: int | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    evaluations: int | None = None,
    seconds: float | None = None,
    seeds: int = 3,
    stop_early: bool = False,
    lr: str = "default",
    trials: int = 8,
    tune_seeds: int = 2,
    tuner: str | None = None,
    tune: str = "",
    prune: bool = False,
    schedule: str = "constant",
    metric: str | None = None,
    baseline: str | None = None,
    controls: bool = False,
    device: str = "auto",
    threads: int = 1,
    monitor: str = "",
    measures: Sequence[str] = (),
    levels: Sequence[float] = (),
    kind: str = "compare",
    plugins: Sequence[Path] = (),
) -> Race:
    """A race between specs, checked before anything runs.

    Args:
        task: the name of one, FILE.py or FILE.py:NAME for one of your own, or the task itself.
        specs: texts, or entrants with names of their own; `baseline` is one as given, the first by default.
        epochs, steps, evaluations, seconds: the budget of a trial, one of them; the task's steps by default.
        stop_early: look before the last seed, and stop once every verdict is decided: `looks_to`.
        lr: "default" as the specs say; "auto" to tune; or factors on the specs' own, such as "0.1,1,10".
        tune: hyper-parameters to tune together instead, such as "lr=log(1e-4,1), beta2=(.8,.99)": see
            `edsl.lab.races.tuning.space`.
        prune: stop hopeless tuning trials, see `edsl.lab.trials.hopeless`.
        trials, tune_seeds: what each optimizer may try, and trials of each; tuner: how, see `Tuning`.
        metric: "accuracy", "loss" or "train"; accuracy where the task has one, else loss.
        controls: also run E's controls for every spec with E.
        levels: training losses at which sharpness and drift are measured.
        plugins: files with stages for workers to load, beside those that brought stages of the specs.

    Raises:
        EdslError: for whatever can't be raced, in one line.
    """
    brought, entrants, chosen = load_once(plugins), _entrants(specs, controls), _task(task, model)
    _check_counts({"seeds": seeds, "trials": trials, "tune-seeds": tune_seeds})
    amounts = {"steps": steps, "evaluations": evaluations, "seconds": seconds, "epochs": epochs}
    setting = _setting(chosen, model, batch, amounts, device, threads, monitor, schedule, measures, levels)
    _check_entrants(entrants, chosen, setting)
    tuning = replace(_tuning(lr, tune, tuner, trials, tune_seeds, entrants), prune=_pruned(prune, lr, tune))
    decides, against = _metric(metric, chosen), _baseline(baseline, entrants)
    looks, places = looks_to(seeds) if stop_early else (seeds,), _places(brought, entrants)
    early = looks if stop_early else ()
    return Race(setting, entrants, looks[0], tuning, decides, against, kind, places, chosen.source, early)


def _task(task: str | Task, model: str | None) -> Task:
    """The task; one of somebody's own is tried on a few rows."""
    chosen = task_named(task)
    if chosen.source is not None:
        check(chosen, model)
    return chosen


def _check_entrants(entrants: Sequence[Entrant], task: Task, setting: Setting) -> None:
    for entrant in entrants:
        _check_schedules(entrant, setting)
        with seeded(0):
            check_fit(parse(entrant.spec), task.model(setting.model)[1]())


def looks_to(most: int) -> tuple[int, ...]:
    """Numbers of seeds after which a race of at most so many looks whether everything is decided.

    Raises:
        EdslError: for as few as the first look has.

    Example:
        >>> from edsl.lab.races.build import looks_to
        >>> looks_to(20)
        (5, 8, 12, 20)
    """
    if most <= FIRST_LOOK:
        raise EdslError(
            f"--stop-early looks first after {FIRST_LOOK} seeds: give --seeds {FIRST_LOOK + 1} or more, got {most}"
        )
    looks = [FIRST_LOOK]
    while looks[-1] * GROWTH**2 <= most + FIRST_LOOK / 2:
        looks.append(math.ceil(looks[-1] * GROWTH))
    return (*[look for look in looks if look < most], most)


def _setting(
    task: Task,
    model: str | None,
    batch: int | None,
    amounts: dict[str, float | None],
    device: str,
    threads: int,
    monitor: str,
    schedule: str,
    measures: Sequence[str],
    levels: Sequence[float],
) -> Setting:
    """What all trials share, checked; `amounts` are those of a budget, by what each counts."""
    if monitor not in ("", "regret"):
        raise EdslError(f"monitor must be 'regret', got {shown(monitor)}")
    batch = task.batch if batch is None else batch
    _check_counts({"batch": batch, "threads": threads})
    most = os.cpu_count() or 1
    if threads > most:
        raise EdslError(f"threads must be at most {most}, the CPUs of this machine, got {threads}")
    model = task.model(model)[0]
    device = usable_device(device)
    examples = len(task.data().train.inputs)
    if batch > examples:
        raise EdslError(f"batch must be at most the {examples} training examples of {task.name}, got {batch}")
    budget, unit = _budget(task, amounts, batch, examples)
    schedule_named(schedule)
    if measures or levels:
        from edsl.lab.measures.catalogue import check_measures

        check_measures([*measures, *(["sharpness"] if levels else [])])
    return Setting(
        task.name, model, batch, budget, device, threads, monitor, unit, schedule, tuple(measures), tuple(levels)
    )


def _check_schedules(entrant: Entrant, setting: Setting) -> None:
    """Raises EdslError where a spec's own schedules don't go with the race's."""
    for key, value in parse(entrant.spec).schedules.items():
        rate = key == "lr" or key.endswith("_lr")
        if rate and setting.schedule != "constant":
            raise EdslError(f"{entrant.name} has its own {key}={value}: leave out --schedule {setting.schedule}")
        value.schedule.check_total(int(setting.budget) if setting.unit == "steps" else None, key)


def _check_counts(counts: dict[str, int]) -> None:
    for name, value in counts.items():
        if value < 1:
            raise EdslError(f"{name} must be at least 1, got {value}")


def _places(brought: Sequence[Plugin], entrants: Sequence[Entrant]) -> tuple[Plugin, ...]:
    """The files that hold the stages of a race, beside edsl's own."""
    stages = [stage for entrant in entrants for stage in parse(entrant.spec).all_stages]
    return tuple(dict.fromkeys([*brought, *plugins_of(stages)]))


def _entrants(specs: Sequence[str | Entrant], controls: bool) -> tuple[Entrant, ...]:
    if not specs:
        raise EdslError("no optimizer to race: name at least one spec, such as 'alto(lr=0.01)'")
    found: dict[str, Entrant] = {}
    for spec in specs:
        entrant = spec if isinstance(spec, Entrant) else _entrant(spec, {one.name for one in found.values()})
        if entrant.spec in found:
            first = found[entrant.spec].name
            said = f" (as {shown(first)})" if first != entrant.name else ""
            raise EdslError(f"{shown(entrant.name)} is given twice{said}; a race needs different specs")
        found[entrant.spec] = entrant
    for entrant in list(found.values()) if controls else ():
        for control in controls_of(parse(entrant.spec)):
            spec = str(control.pipeline)
            if spec not in found:  # it may be among those given, or the control of another
                found[spec] = Entrant(f"{entrant.name}, {control.name}", spec, entrant.name, control.about)
    return tuple(found.values())


def _entrant(spec: str, taken: Collection[str]) -> Entrant:
    """An entrant with its spec's own name; a second pipeline of one line, with other rules, gets a number."""
    name = line = line_of(spec) if has_rules(spec) else spec
    count = 1
    while name in taken and has_rules(spec):
        count += 1
        name = f"{line} ({count})"
    return Entrant(name, str(parse(spec)))


def scaled_entrants(specs: Sequence[str], factor: float) -> list[Entrant]:
    """Specs as entrants under their own names, with every learning rate times a factor.

    Raises:
        EdslError: for one without a plain learning rate.
    """
    found: list[Entrant] = []
    for spec in specs:
        entrant = _entrant(spec, {one.name for one in found})
        pipeline = parse(entrant.spec)
        keys = [key for key in pipeline.schedules if key == "lr" or key.endswith("_lr")]
        if keys and factor != 1:
            raise EdslError(
                f"--scale-lr can't scale {keys[0]} of {entrant.name}, a schedule of its own: give --schedule"
            )
        found.append(replace(entrant, spec=str(scaled(pipeline, factor))))
    return found


def _budget(task: Task, amounts: dict[str, float | None], batch: int, examples: int) -> tuple[float, str]:
    asked = {name: value for name, value in amounts.items() if value is not None}
    if len(asked) > 1:
        raise EdslError(f"the budget is in {either(('epochs', *UNITS))}, got {' and '.join(asked)}")
    for name, value in asked.items():
        if not value > 0 or (name != "seconds" and value < 1) or not math.isfinite(value):
            raise EdslError(f"{name} must be {'more than 0' if name == 'seconds' else 'at least 1'}, got {value}")
    if "epochs" in asked:
        return asked["epochs"] * (examples // batch), "steps"
    return next(((value, unit) for unit, value in asked.items()), (task.steps, "steps"))


def _space(tune: str, lr: str, tuner: str | None, trials: int, seeds: int) -> Tuning:
    if lr != "default":
        raise EdslError(f"give --tune or --lr {lr}, not both: name lr within --tune")
    sampler = SAMPLERS[0] if tuner is None else tuner
    check_sampler(sampler)
    return Tuning(sampler, trials, seeds, space=", ".join(map(str, read_space(tune))))


def _check_space(tuning: Tuning, entrants: Sequence[Entrant]) -> None:
    """Raises EdslError for a hyper-parameter that no entrant has, an entrant that has none, or an impossible value."""
    names = [dimension.name for dimension in tuning.dimensions]
    keys = {entrant.name: parse(entrant.spec).keys for entrant in entrants}
    known = list(dict.fromkeys(key for own in keys.values() for key in own))
    for name in names:
        if name not in known:
            raise EdslError(f"--tune: no optimizer here has {name!r}; {nearest(name, known, 'known')}")
    for entrant, own in keys.items():
        if names and not {*names} & own.keys():
            raise EdslError(f"--tune: {entrant} has none of {', '.join(names)}; known: {', '.join(own)}")


def _tuning(lr: str, tune: str, tuner: str | None, trials: int, seeds: int, entrants: Sequence[Entrant]) -> Tuning:
    if tune:
        found = _space(tune, lr, tuner, trials, seeds)
        _check_space(found, entrants)
        return found
    if lr == "default":
        return Tuning(trials=0, seeds=0)
    tuner = "grid" if tuner is None else tuner
    check_tuner(tuner)
    for entrant in entrants:
        learning_rates(parse(entrant.spec))
    if lr == "auto":
        return Tuning(tuner, trials, seeds)
    try:
        factors = tuple(dict.fromkeys(float(part) for part in lr.split(",")))
    except ValueError:
        factors = ()
    if not factors or not all(0 < factor < math.inf for factor in factors):
        raise EdslError(f"lr must be default, auto, or factors on the specs' own such as 0.1,1,10, got {shown(lr)}")
    return Tuning("fixed", len(factors), seeds, factors)


def _pruned(prune: bool, lr: str, tune: str) -> bool:
    if prune and lr != "auto" and not tune:
        raise EdslError("--prune has no effect without --lr auto, or --tune")
    return prune


def _metric(metric: str | None, task: Task) -> str:
    if metric is None:
        return "loss" if task.accuracy is None else "accuracy"
    if metric not in METRICS:
        raise EdslError(f"metric must be {either(METRICS)}, got {shown(metric)}")
    if metric == "accuracy" and task.accuracy is None:
        raise EdslError(f"task {task.name} has no accuracy; take --metric loss or train")
    return metric


def _baseline(baseline: str | None, entrants: Sequence[Entrant]) -> str:
    if baseline is None:
        return entrants[0].name
    by_spec = {entrant.spec: entrant.name for entrant in entrants}
    if baseline in {entrant.name for entrant in entrants}:
        return baseline
    try:
        return by_spec[str(parse(baseline))]
    except (EdslError, KeyError):
        names = ", ".join(entrant.name for entrant in entrants)
        raise EdslError(f"baseline {shown(baseline)} is not in the race; it has {names}") from None


def race_from(configuration: Any, whose: str = "this race") -> Race:
    """The race that a configuration describes, as `Race.configuration` gave it. Plugins and task are loaded again.

    Raises:
        EdslError: when it describes none that this edsl can run, or a plugin or its task is gone or has changed.
    """
    held = dict(configuration)
    setting = Setting(**{name: held.pop(name) for name in Setting.__dataclass_fields__})
    entrants = tuple(Entrant(**entrant) for entrant in held.pop("entrants"))
    tuning = held.pop("tuning")
    tuning = Tuning(**{**tuning, "factors": tuple(tuning["factors"])})
    setting = replace(setting, measures=tuple(setting.measures), levels=tuple(setting.levels))
    plugins = tuple(Plugin(plugin["path"], plugin["text"], plugin["place"]) for plugin in held.get("plugins", ()))
    find_again(plugins, whose)
    for entrant in entrants:
        parse(entrant.spec)
    source = find_task_again(held["source"], whose) if held.get("source") else None
    (task_named(setting.task) if source is None else source.task()).model(setting.model)
    usable_device(setting.device)
    return Race(
        setting,
        entrants,
        held["seeds"],
        tuning,
        held["metric"],
        held["baseline"],
        held["kind"],
        plugins,
        source,
        tuple(held.get("looks", ())),
    )


def open_record(race: Race, folder: Path, resume: bool) -> Record:
    """The folder that a race's results go to; raises EdslError as Record does."""
    return Record(folder, race.configuration(), resume)
