"""`edsl train`: one trial, on one process or on those that torchrun starts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from edsl.cli.render.page import print_json
from edsl.cli.render.progress import quiet, race_progress
from edsl.cli.render.trial import print_trial
from edsl.errors import EdslError


def train(
    task: str | None,
    spec: str,
    seed: int,
    parallel: str | None,
    settings: dict[str, Any],
    as_json: bool,
    out: Path | None,
) -> None:
    """Train once and print what came out; with `out` the trial's record is written there.

    The exit code is 1 for a trial that failed, whose optimizer could not take these parameters or a step.
    """
    from edsl.lab.races.build import race
    from edsl.lab.trials.parallel import group
    from edsl.lab.trials.run import run_trial

    if task is None:
        raise EdslError("name a task, such as: edsl train alto --task digits")
    chosen = race(task, [spec], seeds=1, **settings)
    with group(parallel, chosen.setting.device, chosen.setting.batch) as processes:
        with race_progress() if processes is None else quiet() as watch:
            from edsl.lab.executors.driver import Progress

            def tick(step: int) -> None:
                watch(Progress(0, 1, spec, f"seed {seed}", step, chosen.setting.budget))

            trial = run_trial(chosen.task, chosen.setting, chosen.entrants[0].spec, seed, tick, processes)
        if processes is not None and processes.rank > 0:
            return
    record = trial.record()
    if out is not None:
        try:
            out.write_text(json.dumps(record, ensure_ascii=False) + "\n")
        except OSError as reason:
            raise EdslError(f"can't write {out}: {reason.strerror or reason}") from None
    if as_json:
        print_json({**chosen.configuration(), **record})
    else:
        print_trial(record)
    if trial.status == "failed":
        sys.exit(1)
