"""`edsl train`: one trial, on one process or on those that torchrun starts."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edsl.cli.asked import task_of_race
from edsl.cli.named_task import task_and_spec
from edsl.cli.render.page import print_json
from edsl.cli.render.progress import quiet, race_progress
from edsl.cli.render.trial import print_trial
from edsl.errors import EdslError
from edsl.plotting import check_writable


def train(
    task: str | None,
    words: Sequence[str],
    seed: int,
    parallel: str | None,
    settings: dict[str, Any],
    as_json: bool,
    out: Path | None,
) -> None:
    """Train once and print what came out; with `out` the trial's record is written there.

    Args:
        words: the spec, before which the task may stand when it is not given by itself.

    The exit code is 1 for a trial that failed, whose optimizer could not take these parameters or a step.
    """
    from edsl.lab.races.build import race
    from edsl.lab.trials.parallel import group
    from edsl.lab.trials.run import run_trial

    task, spec = task_and_spec(task, words, "train")
    task = task_of_race(task, [spec] if spec else [], "edsl train alto --task digits")
    assert spec is not None  # task_of_race has seen to it
    if out is not None:
        check_writable(out)
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
