"""`edsl compare`: a race, watched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edsl.cli.asked import check_effective, resumed, resumes, task_of_race
from edsl.cli.named_task import task_and_specs
from edsl.cli.options import Running
from edsl.cli.run import run
from edsl.errors import EdslError


def compare(task: str | None, words: Sequence[str], settings: dict[str, Any], running: Running) -> None:
    """Run a race into its folder, and print its tables or its results as JSON.

    Args:
        words: specs, before which the task may stand when it is not given by itself.
        settings: as `edsl.lab.races.build.race` takes them.
    """
    from edsl.cli import suite
    from edsl.lab.races.build import race
    from edsl.lab.races.suites import read_batches, suite_in

    first, specs = task_and_specs(task, words)
    batches, rule = read_batches(settings.pop("batches")), settings.pop("scale_lr")
    if running.resume and running.out is not None and suite_in(running.out):
        suite.resume_suite(specs, running)
        return
    if len(batches) > 1:
        suite.by_batch(first, specs, batches, rule, settings, running)
        return
    settings["batch"] = batches[0] if batches else None
    if rule is not None and not running.resume:
        raise EdslError("--scale-lr has no effect without several batches, such as --batch 128,1024")
    if first is not None and "," in first:
        suite.several(first, specs, settings, running)
        return
    if resumes(running):
        run(resumed(running, first, specs), running)
        return
    first = task_of_race(first, specs, "edsl compare 'alto(lr=0.01)' lamb --task digits")
    check_effective(running.asked)
    run(race(first, specs, **settings), running)
