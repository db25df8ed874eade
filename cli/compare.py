"""`edsl compare`: a race, watched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edsl.cli.asked import check_effective, resumed, resumes, task_of_race
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

    first, specs = _task_and_specs(task, words)
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
