"""`edsl compare`: a race, watched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from edsl.cli.asked import check_effective, resumed, resumes
from edsl.cli.options import Running
from edsl.cli.render.page import print_json, print_note
from edsl.cli.render.progress import race_progress
from edsl.cli.render.race import print_forecast, print_race
from edsl.errors import EdslError, Interrupted


def compare(task: str | None, words: Sequence[str], settings: dict[str, Any], running: Running) -> None:
    """Run a race into its folder, and print its tables or its results as JSON.

    Args:
        words: specs, before which the task may stand when it is not given by itself.
        settings: as `edsl.lab.races.build.race` takes them.
    """
    from edsl.cli import suite
    from edsl.lab.races.build import race
    from edsl.lab.races.suites import suite_in

    first, specs = _task_and_specs(task, words)
    if running.resume and running.out is not None and suite_in(running.out):
        suite.resume_suite(specs, running)
        return
    if first is not None and "," in first:
        suite.several(first, specs, settings, running)
        return
    if resumes(running):
        run(resumed(running, first, specs), running)
        return
    if first is None or not specs:
        raise EdslError("name a task and at least one spec, such as: edsl compare 'alto(lr=0.01)' lamb --task digits")
    check_effective(running.asked)
    run(race(first, specs, **settings), running)


def _task_and_specs(task: str | None, words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The task by itself, or as the first word when that is no spec."""
    from edsl.lab.tasks.catalogue import TASKS
    from edsl.lab.tasks.own import is_file
    from edsl.language.registry.constructors import constructor

    name = words[0].partition(":")[0] if words else ""
    file = bool(words) and is_file(words[0])
    if task is not None and (name in TASKS or file):
        raise EdslError(f"the task is given twice: {words[0]}, and --task {task}; give it once")
    may_be_task = task is None and words and not set("|(.") & set(words[0])
    if task is None and file:
        return words[0], list(words[1:])
    if may_be_task and (name in TASKS or (len(words) > 1 and constructor(words[0]) is None)):
        return words[0], list(words[1:])
    return task, list(words)


def run(race: Any, running: Running) -> Any:
    """Run a race that is checked, or tell what it would take; its results."""
    from edsl.lab.races.build import open_record
    from edsl.lab.results.results import checked_target, results

    checked_target(race, running.target)
    if running.out == Path("."):
        raise EdslError("--out must name a folder of its own, got the current one")
    engine = engine_for(race, running)
    if running.dry_run:
        _forecast(race, running, max(1, jobs_for(race, running)))
        return None
    folder = running.out or Path("runs") / f"{race.setting.task.replace('/', '-')}-{datetime.now():%Y%m%d-%H%M%S}"
    record = open_record(race, folder, running.resume)
    race, record = trained(race, record, folder, running, engine)
    found = results(race, record.finished, running.target)
    if race.setting.levels:
        from edsl.cli.matched_loss import tell

        tell(race, record, running.as_json)
    elif running.as_json:
        rows = [row.record() for row in found.rows]
        print_json({**race.configuration(), "out": str(folder), "target": found.target, "rows": rows})
    else:
        print_race(race, found)
    if not running.as_json:
        print_note(f"results: {folder}; edsl report {folder} makes a page of them")
    return found


def engine_for(race: Any, running: Running) -> Any:
    """Where the trials run; raises EdslError for options that make none."""
    from edsl.lab.executors.engines import executor

    return executor(running.engine, jobs_for(race, running), running.address, running.gpus)


def trained(race: Any, record: Any, folder: Path, running: Running, engine: Any) -> tuple[Any, Any]:
    """Run what a record does not hold yet, and show how it goes; the race and its record as they ended."""
    from edsl.lab.executors.driver import run_until_decided

    made = [engine]
    try:
        with race_progress() as watch:
            return run_until_decided(race, record, lambda: made.pop() if made else engine_for(race, running), watch)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; continue with: edsl compare --resume --out {folder}") from None


def jobs_for(race: Any, running: Running) -> int:
    """As many as asked for; else one for each CPU that trials can share, and none more than trials."""
    if running.jobs is not None:
        return running.jobs
    if running.engine != "local":
        return 0
    if not race.setting.device.startswith("cpu") or race.setting.unit == "seconds":
        return 1  # trials that share an accelerator, or whose budget is time, would disturb each other
    return max(1, min((os.cpu_count() or 1) // race.setting.threads, race.planned // 4))


def _forecast(race: Any, running: Running, jobs: int) -> None:
    from edsl.lab.races.forecast import forecast

    seconds = forecast(race)
    expected = {"trials": race.planned, "jobs": jobs, "seconds": seconds / jobs}
    if running.as_json:
        print_json({**race.configuration(), **expected})
    else:
        print_forecast(race, expected)
