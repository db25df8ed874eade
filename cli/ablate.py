"""`edsl ablate`: what each part of a pipeline does."""

from __future__ import annotations

from typing import Any

from edsl.cli.asked import check_effective, resumed, resumes
from edsl.cli.options import Running
from edsl.cli.run import run
from edsl.errors import EdslError


def ablate(spec: str | None, task: str | None, settings: dict[str, Any], running: Running) -> None:
    """Race a pipeline against itself without each of its parts."""
    from edsl.lab.races.ablation import ablation
    from edsl.lab.races.build import race

    if resumes(running):
        run(resumed(running, task, [] if spec is None else ablation(spec)), running)
        return
    if spec is None or task is None:
        raise EdslError("name a spec and a task, such as: edsl ablate alto --task digits")
    check_effective(running.asked)
    run(race(task, ablation(spec), kind="ablate", **settings), running)
