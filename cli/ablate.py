"""`edsl ablate`: what each part of a pipeline does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edsl.cli.asked import check_effective, resumed, resumes
from edsl.cli.named_task import task_and_spec
from edsl.cli.options import Running
from edsl.cli.run import run
from edsl.errors import EdslError


def ablate(words: Sequence[str], task: str | None, settings: dict[str, Any], running: Running) -> None:
    """Race a pipeline against itself without each of its parts."""
    from edsl.lab.races.ablation import ablation
    from edsl.lab.races.build import race

    task, spec = task_and_spec(task, words, "ablate")
    if resumes(running):
        run(resumed(running, task, [] if spec is None else ablation(spec)), running)
        return
    if spec is None or task is None:
        raise EdslError("name a spec and a task, such as: edsl ablate alto --task digits")
    check_effective(running.asked)
    run(race(task, ablation(spec), kind="ablate", **settings), running)
