"""`edsl sharpness`: the top Hessian eigenvalue and drift at matched training loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edsl.cli.asked import check_effective, resumed, resumes, task_of_race
from edsl.cli.named_task import task_and_specs
from edsl.cli.options import Running
from edsl.cli.run import run


def sharpness(task: str | None, words: Sequence[str], levels: str, settings: dict[str, Any], running: Running) -> None:
    """Train every spec on every seed, look when its training loss first falls to each level, and at the end."""
    from edsl.lab.races.build import race
    from edsl.lab.trials.levels import read_levels

    task, specs = task_and_specs(task, words)
    if resumes(running):
        run(resumed(running, task, specs), running)
        return
    task = task_of_race(task, specs, "edsl sharpness adam eadam --task digits")
    check_effective(running.asked)
    run(race(task, specs, kind="sharpness", levels=read_levels(levels), **settings), running)
