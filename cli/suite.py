"""`edsl suite`, and `edsl compare` on several tasks: a race for each, and one score over all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from edsl.cli.asked import check_effective, resumed
from edsl.cli.named_task import task_and_specs
from edsl.cli.options import Running
from edsl.cli.render.page import print_json, print_note
from edsl.cli.render.race import print_results
from edsl.cli.render.suite import print_batches, print_suite, print_suite_forecast
from edsl.cli.run import engine_for, jobs_for, trained
from edsl.errors import EdslError


def suite(
    name: str | None, specs: Sequence[str], task: str | None, settings: Mapping[str, Any], running: Running
) -> None:
    """Race specs on all tasks of a named suite; what the user asks for comes before what the suite sets.

    Args:
        name: of the suite; or its tasks, written with commas; or the first spec where `task` has these.
    """
    from edsl.lab.races.suites import SUITES, suite_in, suite_named

    given = [] if name is None else [name, *specs]
    if running.resume and running.out is not None and suite_in(running.out):
        resume_suite(specs, running)
        return
    if task is not None and name in SUITES:
        raise EdslError(f"--task is none of a suite's options, and {name} names its own: leave out one of the two")
    tasks, raced = task_and_specs(task, given)
    if task is not None or (tasks is not None and "," in tasks):
        several(tasks or "", raced, settings, running)
        return
    if name is None or not specs:
        raise EdslError("name a suite and at least one spec, such as: edsl suite small alto lamb adamw")
    if running.targets is not None:
        raise EdslError("--targets is of one task; those of a suite have their own")
    chosen = suite_named(name)
    run_suite(chosen, specs, {**settings, **dict(chosen.budget), **_asked(settings, running)}, running)


def _asked(settings: Mapping[str, Any], running: Running) -> dict[str, Any]:
    return {name: settings[name] for name in running.asked if name in settings}


def several(tasks: str, specs: Sequence[str], settings: Mapping[str, Any], running: Running) -> None:
    """Race specs on several tasks, written with commas."""
    from edsl.lab.races.suites import suite_of

    if not specs:
        raise EdslError(f"name at least one spec, such as: edsl compare alto lamb --task {tasks}")
    if running.targets is not None:
        raise EdslError("--targets is of one task; of several each has its own: the value that the baseline reaches")
    check_effective(running.asked)
    run_suite(suite_of(tasks), specs, settings, running)


def by_batch(
    task: str | None,
    specs: Sequence[str],
    batches: Sequence[int],
    rule: str | None,
    settings: Mapping[str, Any],
    running: Running,
) -> None:
    """Race specs on one task at several batches; `rule` says how learning rates follow the batch."""
    from edsl.lab.races.suites import suite_by_batch

    said = ",".join(map(str, batches))
    _refuse_resume(running)
    if task is None or not specs:
        raise EdslError(
            f"name a task and at least one spec, such as: edsl compare alto lamb --task digits --batch {said}"
        )
    if "," in task:
        raise EdslError(f"--batch {said} is of one task, got --task {task}: give one batch, or one task")
    suite = suite_by_batch(task, batches, running.targets, rule)
    tunes = settings["lr"] != "default" or bool(settings["tune"])
    if rule in ("linear", "sqrt") and tunes:
        how = "--tune" if settings["tune"] else f"--lr {settings['lr']}"
        raise EdslError(f"--scale-lr {rule} is of the specs' own rates: leave out {how}, or give --scale-lr tuned")
    if rule == "tuned" and not tunes:
        settings = {**settings, "lr": "auto"}
    elif rule == "tuned" and settings["lr"] not in ("default", "auto"):
        raise EdslError(f"--scale-lr tuned tunes at each batch: leave out --lr {settings['lr']}")
    check_effective({**running.asked, "lr": settings["lr"]})
    run_suite(suite, specs, settings, running)


def run_suite(suite: Any, specs: Sequence[str], settings: Mapping[str, Any], running: Running) -> None:
    """Check all races, run one after the other into a folder of its own, and tell the score."""
    from edsl.lab.races.build import open_record
    from edsl.lab.races.suites import folder_names, record_suite

    _refuse_resume(running)
    races = _races(suite, specs, settings)
    _targets(suite, races, running)  # bad ones are refused before anything runs
    if running.dry_run:
        _forecast(suite, races, running)
        return
    engine_for(races[0], running)  # bad options are refused before anything is written
    named = [one.folder for one in suite.workloads]
    names = named if all(named) else folder_names([one.setting.task for one in races])
    suite = replace(suite, workloads=tuple(replace(w, folder=n) for w, n in zip(suite.workloads, names)))
    kind = suite.name or (folder_names([races[0].setting.task])[0] if suite.by_batch else "suite")
    folder = running.out or Path("runs") / f"{kind}-{datetime.now():%Y%m%d-%H%M%S}"
    record_suite(folder, suite, running.resume)
    records = [open_record(one, folder / name, running.resume) for one, name in zip(races, names)]
    _run(suite, races, records, folder, running)


def _refuse_resume(running: Running) -> None:
    """Raises EdslError for --resume where no races are that it could finish."""
    if running.resume:
        where = f"{running.out} holds no race to resume" if running.out else "--resume needs --out"
        raise EdslError(f"{where}: name the folder of the races to finish, or drop --resume")


def _races(suite: Any, specs: Sequence[str], settings: Mapping[str, Any]) -> list[Any]:
    from edsl.lab.races.build import race, scaled_entrants

    races: list[Any] = []
    given = {name: value for name, value in settings.items() if value is not None}
    for workload in suite.workloads:
        own = {"model": workload.model, "batch": workload.batch, **_budget(workload, settings)}
        entrants: Any = specs
        if suite.by_batch:
            entrants = scaled_entrants(specs, suite.rate_factor(workload))
            given = {**given, **({"baseline": races[0].baseline} if races else {})}  # under one name at all batches
        races.append(race(workload.task, entrants, **{**settings, **own, **given}))
    return races


def _targets(suite: Any, races: Sequence[Any], running: Running) -> tuple[float, ...]:
    """What is asked for of one task at several batches, now or when it began."""
    from edsl.lab.results.targets import read_targets

    return read_targets(running.targets or suite.targets or None, races[0])


def resume_suite(specs: Sequence[str], running: Running) -> None:
    """Go on with the races that a folder holds; more seeds extend all of them."""
    from edsl.lab.races.build import open_record, scaled_entrants
    from edsl.lab.races.suites import suite_in

    assert running.out is not None  # the caller has seen to it
    found = suite_in(running.out)
    assert found is not None
    if running.targets is not None and not found.by_batch:
        raise EdslError("--targets is of one task; those of a suite have their own")
    asked = _without_suites_own(found, running)
    races = [
        resumed(
            replace(running, out=running.out / workload.folder, asked=asked),
            None,
            scaled_entrants(specs, found.rate_factor(workload)) if found.by_batch else specs,
        )
        for workload in found.workloads
    ]
    _targets(found, races, running)
    records = [open_record(one, running.out / workload.folder, True) for one, workload in zip(races, found.workloads)]
    _run(found, races, records, running.out, running)


def _without_suites_own(suite: Any, running: Running) -> dict[str, Any]:
    """What was asked of each race alone; raises EdslError for tasks, batches or a rule that the folder has not."""
    held = {"task": ",".join(dict.fromkeys(one.task for one in suite.workloads))}
    if suite.by_batch:
        held |= {"batches": ",".join(str(one.batch) for one in suite.workloads), "scale_lr": suite.scale_lr or "none"}
    for name, there in held.items():
        here = running.asked.get(name)
        if here is not None and sorted(here.replace(" ", "").split(",")) != sorted(there.split(",")):
            option = {"batches": "batch"}.get(name, name.replace("_", "-"))
            raise EdslError(
                f"the races in {running.out} were begun with --{option} {there} instead of {here}: leave it out, or "
                "choose another --out"
            )
    return {name: value for name, value in running.asked.items() if name not in held}


def _budget(workload: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A workload's steps, unless another budget is asked for."""
    others = any(settings.get(unit) is not None for unit in ("epochs", "evaluations", "seconds"))
    return {} if others else {"steps": workload.steps}


def _run(suite: Any, races: Sequence[Any], records: Sequence[Any], folder: Path, running: Running) -> None:
    ended = []
    for one, record in zip(races, records):
        if not running.as_json:
            print_note(f"batch {one.setting.batch}" if suite.by_batch else one.setting.task)
        ended.append(trained(one, record, folder, running, engine_for(one, running)))
    tell = _tell_batches if suite.by_batch else _tell_score
    tell(suite, [(one, record.finished) for one, record in ended], folder, running)
    if not running.as_json:
        print_results(folder)


def _tell_score(suite: Any, held: Sequence[Any], folder: Path, running: Running) -> None:
    from edsl.lab.results.scores import scores, times_records

    found = scores(held, [workload.target for workload in suite.workloads])
    races = [one for one, _ in held]
    if running.as_json:
        rows = [row.record() for row in found.rows]
        targets = {one.task: one.target for one in found.tasks}
        said = {"suite": suite.name, "out": str(folder), "targets": targets, "scores": rows}
        print_json({**said, "times": times_records(found), "races": [one.configuration() for one in races]})
    else:
        print_suite(suite.name, races, found)


def _tell_batches(suite: Any, held: Sequence[Any], folder: Path, running: Running) -> None:
    from edsl.lab.results.scaling import records, told_together

    found = told_together(held, _targets(suite, [one for one, _ in held], running))
    if running.as_json:
        each = [
            {**race.configuration(), "targets": list(one.targets), "rows": [row.record() for row in one.rows]}
            for race, one in found
        ]
        how = {"scale_lr": suite.scale_lr, "targets": list(found[0][1].targets)}
        print_json({"out": str(folder), **how, "times": records(found), "races": each})
    else:
        print_batches(found, suite.scale_lr)


def _forecast(suite: Any, races: Sequence[Any], running: Running) -> None:
    from edsl.lab.races.forecast import forecast, loading

    jobs = [max(1, jobs_for(one, running)) for one in races]
    wait = loading(max(jobs))
    seconds = [forecast(one) / count for one, count in zip(races, jobs)]
    seconds[0] += wait
    if running.as_json:
        each = [
            {"task": one.setting.task, "batch": one.setting.batch, "trials": one.planned, "seconds": s}
            for one, s in zip(races, seconds)
        ]
        print_json({"trials": sum(one.planned for one in races), "seconds": sum(seconds), "tasks": each})
    else:
        print_suite_forecast(races, seconds, max(jobs), suite.by_batch)
