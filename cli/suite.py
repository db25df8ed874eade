"""`edsl suite`, and `edsl compare` on several tasks: a race for each, and one score over all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from edsl.cli.asked import check_effective, resumed
from edsl.cli.options import Running
from edsl.cli.render.page import print_json, print_note
from edsl.cli.render.suite import print_suite, print_suite_forecast
from edsl.cli.run import engine_for, jobs_for, trained
from edsl.errors import EdslError


def suite(name: str | None, specs: Sequence[str], settings: Mapping[str, Any], running: Running) -> None:
    """Race specs on all tasks of a named suite; what the user asks for comes before what the suite sets."""
    from edsl.lab.races.suites import suite_in, suite_named

    if running.resume and running.out is not None and suite_in(running.out):
        resume_suite(specs, running)
        return
    if name is None or not specs:
        raise EdslError("name a suite and at least one spec, such as: edsl suite small alto lamb adamw")
    chosen = suite_named(name)
    run_suite(chosen, specs, {**settings, **dict(chosen.budget), **_asked(settings, running)}, running)


def _asked(settings: Mapping[str, Any], running: Running) -> dict[str, Any]:
    return {name: settings[name] for name in running.asked if name in settings}


def several(tasks: str, specs: Sequence[str], settings: Mapping[str, Any], running: Running) -> None:
    """Race specs on several tasks, written with commas."""
    from edsl.lab.races.suites import suite_of

    if not specs:
        raise EdslError(f"name at least one spec, such as: edsl compare alto lamb --task {tasks}")
    if running.target is not None:
        raise EdslError("--target is of one task; of several each has its own: the value that the baseline reaches")
    check_effective(running.asked)
    run_suite(suite_of(tasks), specs, settings, running)


def run_suite(suite: Any, specs: Sequence[str], settings: Mapping[str, Any], running: Running) -> None:
    """Check all races, run one after the other into a folder of its own, and tell the score."""
    from edsl.lab.races.build import open_record, race
    from edsl.lab.races.suites import folder_names, record_suite

    races = []
    for workload in suite.workloads:
        own = {"model": workload.model, "batch": workload.batch, **_budget(workload, settings)}
        given = {name: value for name, value in settings.items() if value is not None}
        races.append(race(workload.task, specs, **{**settings, **own, **given}))
    if running.dry_run:
        _forecast(races, running)
        return
    engine_for(races[0], running)  # bad options are refused before anything is written
    names = folder_names([one.setting.task for one in races])
    suite = replace(suite, workloads=tuple(replace(w, folder=n) for w, n in zip(suite.workloads, names)))
    kind = suite.name or "suite"
    folder = running.out or Path("runs") / f"{kind}-{datetime.now():%Y%m%d-%H%M%S}"
    record_suite(folder, suite, running.resume)
    records = [open_record(one, folder / name, running.resume) for one, name in zip(races, names)]
    _run(suite, races, records, folder, running)


def resume_suite(specs: Sequence[str], running: Running) -> None:
    """Go on with the races that a folder holds; more seeds extend all of them."""
    from edsl.lab.races.build import open_record
    from edsl.lab.races.suites import suite_in

    assert running.out is not None  # the caller has seen to it
    found = suite_in(running.out)
    assert found is not None
    folders = [running.out / workload.folder for workload in found.workloads]
    races = [resumed(replace(running, out=folder), None, specs) for folder in folders]
    records = [open_record(one, folder, True) for one, folder in zip(races, folders)]
    _run(found, races, records, running.out, running)


def _budget(workload: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A workload's steps, unless another budget is asked for."""
    others = any(settings.get(unit) is not None for unit in ("epochs", "evaluations", "seconds"))
    return {} if others else {"steps": workload.steps}


def _run(suite: Any, races: Sequence[Any], records: Sequence[Any], folder: Path, running: Running) -> None:
    from edsl.lab.results.scores import scores

    ended = []
    for one, record in zip(races, records):
        if not running.as_json:
            print_note(one.setting.task)
        ended.append(trained(one, record, folder, running, engine_for(one, running)))
    races = [one for one, _ in ended]
    found = scores(
        [(one, record.finished) for one, record in ended],
        [workload.target for workload in suite.workloads],
    )
    if running.as_json:
        held = [one.configuration() for one in races]
        rows = [row.record() for row in found.rows]
        targets = {one.task: one.target for one in found.tasks}
        print_json({"suite": suite.name, "out": str(folder), "targets": targets, "scores": rows, "races": held})
        return
    print_suite(suite.name, races, found)
    print_note(f"results: {folder}; edsl report {folder} makes a page of them")


def _forecast(races: Sequence[Any], running: Running) -> None:
    from edsl.lab.races.forecast import forecast

    jobs = [max(1, jobs_for(one, running)) for one in races]
    seconds = [forecast(one) / count for one, count in zip(races, jobs)]
    if running.as_json:
        each = [{"task": one.setting.task, "trials": one.planned, "seconds": s} for one, s in zip(races, seconds)]
        print_json({"trials": sum(one.planned for one in races), "seconds": sum(seconds), "tasks": each})
    else:
        print_suite_forecast(races, seconds, max(jobs))
