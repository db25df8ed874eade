"""A race that is checked: run into its folder, with its progress and results printed, or forecast."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from edsl.cli.options import Running
from edsl.cli.render.lines import next_command
from edsl.cli.render.page import print_json
from edsl.cli.render.progress import race_progress
from edsl.cli.render.race import print_forecast, print_race, print_results
from edsl.errors import EdslError, Interrupted


def run(race: Any, running: Running) -> Any:
    """Run a race that is checked, or print what it would take; its results, or None of a forecast."""
    from edsl.lab.races.build import open_record
    from edsl.lab.results.results import results
    from edsl.lab.results.targets import read_targets

    targets = read_targets(running.targets, race)
    if running.out == Path("."):
        raise EdslError("--out must name a folder of its own, got the current one")
    engine = engine_for(race, running)
    if running.dry_run:
        _forecast(race, running, max(1, jobs_for(race, running)))
        return None
    folder = running.out or Path("runs") / f"{race.setting.task.replace('/', '-')}-{datetime.now():%Y%m%d-%H%M%S}"
    record = open_record(race, folder, running.resume)
    race, record = trained(race, record, folder, running, engine)
    found = results(race, record.finished, targets)
    if race.setting.levels:
        from edsl.cli.matched_loss import print_matched_loss

        print_matched_loss(race, record, running.as_json)
    elif running.as_json:
        rows = [row.record() for row in found.rows]
        print_json({**race.configuration(), "out": str(folder), "targets": list(found.targets), "rows": rows})
    else:
        print_race(race, found)
    if not running.as_json:
        print_results(folder)
    return found


def engine_for(race: Any, running: Running) -> Any:
    """Where the trials run; raises EdslError for options that make none."""
    from edsl.lab.executors.engines import executor

    return executor(running.engine, jobs_for(race, running), running.address, running.gpus)


def trained(race: Any, record: Any, folder: Path, running: Running, engine: Any) -> tuple[Any, Any]:
    """Run what a record does not hold yet, and show how it goes; the race and its record as they ended."""
    from edsl.lab.executors.driver import run_until_decided

    try:
        with race_progress() as watch:
            return run_until_decided(race, record, engine, watch, lambda: engine_for(race, running))
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; continue with:{next_command('compare', '--resume', '--out', folder)}"
        ) from None


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
    from edsl.lab.races.forecast import forecast, loading

    wait = loading(jobs)
    seconds = wait + forecast(race) / jobs
    expected = {"trials": race.planned, "jobs": jobs, "seconds": seconds}
    if running.as_json:
        print_json({**race.configuration(), **expected})
    else:
        print_forecast(race, expected)
