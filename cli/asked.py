"""What the user wrote beside what it must agree with: other options, and the record of a race that is resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edsl.cli.options import RUNNING, Running, listed
from edsl.cli.render.page import print_note
from edsl.errors import EdslError

# option: (what it needs, the option that must have it, its values there)
NEEDS = {
    "address": ("--engine ray", "engine", ("ray",)),
    "gpus": ("--engine ray", "engine", ("ray",)),
}
BUDGETS = ("steps", "evaluations", "seconds")


def check_effective(asked: Mapping[str, Any]) -> None:
    """Refuse options that would do nothing.

    Raises:
        EdslError: for one, with what it needs.
    """
    for name, (needed, other, values) in NEEDS.items():
        if name in asked and asked.get(other) not in values:
            raise EdslError(f"{_written(name)} has no effect without {needed}")
    rate, tunes = asked.get("lr", "default"), bool(asked.get("tune"))
    for name in ("trials", "tuner", "prune"):
        if name in asked and rate != "auto" and not tunes:
            raise EdslError(f"{_written(name)} has no effect without --lr auto, or --tune")
    if "tune_seeds" in asked and rate == "default" and not tunes:
        raise EdslError("--tune-seeds has no effect without --lr auto, or factors such as --lr 0.1,1,10, or --tune")


def task_of_race(task: str | None, specs: Sequence[str], example: str) -> str:
    """The task of a race that has one, and somebody to race.

    Raises:
        EdslError: with what is missing, and a command that has it.
    """
    if task is None or not specs:
        missing = [what for what, there in (("a task", task), ("at least one spec", specs)) if not there]
        raise EdslError(f"name {' and '.join(missing)}, such as: {example}")
    return task


def resumes(running: Running) -> bool:
    """Whether a race goes on that --out holds.

    Raises:
        EdslError: for --resume where there is no race.
    """
    from edsl.lab.races.record import CONFIGURATION

    if not running.resume:
        return False
    if running.out is None:
        raise EdslError("--resume needs --out: the folder of the race to finish")
    if not (running.out / CONFIGURATION).exists():
        raise EdslError(f"{running.out} holds no race to resume; drop --resume to start one there")
    return True


def resumed(running: Running, task: str | None, specs: Sequence[Any]) -> Any:
    """The race that is in --out, with as many seeds as are asked for; everything else must be as it was.

    Args:
        specs: texts or entrants that were given again, none for what the record holds.

    Raises:
        EdslError: for a folder that holds no race, and for an option that contradicts it, with both values.
    """
    assert running.out is not None  # resumes has seen to it
    race = held_in(running.out)
    asked = {**running.asked, **({} if task is None else {"task": task})}
    check_effective({name: value for name, value in asked.items() if name in RUNNING})
    differences = [*_contradictions(race, asked), *_other_specs(race, specs)]
    if differences:
        said = f"the race in {running.out} was begun {_enumerated(differences)}: "
        lines = _changed_rules(race, specs)
        raise EdslError("\n".join([f"{said}leave out what differs, or choose another --out", *lines]))
    return _extended(race, asked.get("seeds", race.seeds), running.out)


def held_in(folder: Path) -> Any:
    """The race that a folder holds."""
    from edsl.lab.races.build import race_from
    from edsl.lab.races.record import read_configuration

    held = read_configuration(folder)
    try:
        return race_from(held, f"the race in {folder}")
    except (AttributeError, KeyError, TypeError):
        raise EdslError(f"{folder} holds no race that this edsl can read: race.json is damaged") from None


def _extended(race: Any, seeds: int, folder: Path) -> Any:
    if race.looks:
        if seeds not in (race.seeds, race.looks[-1]):
            raise EdslError(
                f"the race in {folder} may stop early and has at most {race.looks[-1]} seeds, for which its verdicts "
                "hold: drop --seeds, or choose another --out"
            )
        return race
    if seeds < race.seeds:
        raise EdslError(
            f"--seeds {seeds} is less than the {race.seeds} of the race in {folder}: a race can only be extended; "
            "drop the option, or choose another --out"
        )
    if seeds > race.seeds:
        print_note(f"the race in {folder} goes on from {race.seeds} to {seeds} seeds")
    return replace(race, seeds=seeds)


def _contradictions(race: Any, asked: Mapping[str, Any]) -> Iterator[str]:
    for name, value in asked.items():
        if name in RUNNING or name == "seeds" or name not in _READERS:
            continue
        here, there = _READERS[name](race, value)
        if here != there:
            option = "a budget of" if name in (*BUDGETS, "epochs") else _written(name)
            yield f"with {option} {_shown(there)} instead of {_shown(here)}"


def _other_specs(race: Any, specs: Sequence[Any]) -> Iterator[str]:
    from edsl.lab.races.entrant import Entrant
    from edsl.language.rules.texts import line_of
    from edsl.language.spec import parse

    if not specs:
        return
    here = {one.spec if isinstance(one, Entrant) else str(parse(one)): one for one in specs}
    there = {one.spec: one.name for one in race.entrants if not one.control_of}
    for spec, one in here.items():
        if spec not in there:
            yield f"without {one.name if isinstance(one, Entrant) else line_of(one)}"
    for spec, name in there.items():
        if spec not in here:
            yield f"with {name} too"


def _changed_rules(race: Any, specs: Sequence[Any]) -> list[str]:
    """Which rules of the specs are other ones in a race's record, with the lines that differ."""
    from edsl.language.registry.provenance import different_rules
    from edsl.language.spec import parse

    recorded = [parse(entrant.spec) for entrant in race.entrants]
    given = [parse(one) for one in specs if isinstance(one, str)]
    return list(
        dict.fromkeys(
            line
            for now in given
            if now.rules and now not in recorded
            for before in recorded
            for line in different_rules(before, now)
            if "differs" in line
        )
    )


def _budget(unit: str) -> Any:
    return lambda race, value: ((value, unit), (race.setting.budget, race.setting.unit))


def _epochs(race: Any, value: int) -> Any:
    steps = value * (len(race.task.data().train.inputs) // race.setting.batch)
    return (steps, "steps"), (race.setting.budget, race.setting.unit)


def _space(race: Any, value: str) -> Any:
    from edsl.lab.races.tuning.space import read_space

    return ", ".join(map(str, read_space(value))), race.tuning.space or "none"


def _rate(race: Any, value: str) -> Any:
    tuning = race.tuning
    there = {"": "default", "fixed": ",".join(f"{factor:g}" for factor in tuning.factors)}.get(tuning.tuner, "auto")
    try:
        factors = ",".join(f"{float(part):g}" for part in value.split(","))
    except ValueError:
        factors = value
    return factors, there


def _baseline(race: Any, value: str) -> Any:
    from edsl.language.spec import parse

    names = {entrant.name: entrant.name for entrant in race.entrants}
    specs = {entrant.spec: entrant.name for entrant in race.entrants}
    return names.get(value) or specs.get(str(parse(value)), value), race.baseline


def _levels(race: Any, value: str) -> Any:
    from edsl.lab.trials.levels import read_levels

    return read_levels(value), race.setting.levels


def _device(race: Any, value: str) -> Any:
    from edsl.lab.trials.device import usable_device

    return usable_device(value), race.setting.device


def _has_controls(race: Any) -> bool:
    from edsl.lab.races.controls import WITHOUT

    return any(entrant.control_of or entrant.name == WITHOUT for entrant in race.entrants)


def _setting(name: str) -> Any:
    return lambda race, value: (value, getattr(race.setting, name))


def _task(race: Any, value: str) -> Any:
    """A file by where it lies, others by their names."""
    from edsl.lab.tasks.own import is_file

    if race.source is None or not is_file(value):
        return value, race.setting.task
    path, _, name = value.partition(".py:")
    here = Path(f"{path.removesuffix('.py')}.py").resolve()
    return f"{here}{name and ':'}{name}", f"{race.source.path}{name and ':'}{name and race.source.name}"


def _tuned(name: str) -> Any:
    return lambda race, value: (value, getattr(race.tuning, name) if race.tuning.tuner else "none (untuned)")


# option: (race, value asked for) → (that value, the record's), in one form
_READERS: dict[str, Any] = {
    "task": _task,
    "model": lambda race, value: (race.task.model(value)[0], race.setting.model),
    **{name: _setting(name) for name in ("batch", "schedule", "threads", "monitor")},
    "batches": lambda race, value: (value.replace(" ", ""), str(race.setting.batch)),
    "scale_lr": lambda race, value: (value, "none (one batch)"),
    **{unit: _budget(unit) for unit in BUDGETS},
    **{name: _tuned(name) for name in ("trials", "tuner", "prune")},
    "tune_seeds": lambda race, value: (value, race.tuning.seeds if race.tuning.tuner else "none (untuned)"),
    "epochs": _epochs,
    "stop_early": lambda race, value: (value, bool(race.looks)),
    "lr": _rate,
    "tune": _space,
    "metric": lambda race, value: (value, race.metric),
    "baseline": _baseline,
    "device": _device,
    "measures": lambda race, value: (tuple(listed(value)), race.setting.measures),
    "no_controls": lambda race, value: (not value, _has_controls(race)),
    "match_loss": _levels,
}


def _enumerated(clauses: Sequence[str]) -> str:
    *others, last = clauses
    return f"{', '.join(others)} and {last}" if others else last


def _written(name: str) -> str:
    """An option as it is written."""
    return {"measures": "--measure", "batches": "--batch", "no_controls": "controls"}.get(
        name, f"--{name.replace('_', '-')}"
    )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(_shown(part) for part in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
