"""`edsl ablate`: what each part of a pipeline does."""

from __future__ import annotations

from typing import Any

from edsl.cli.compare import Running, held_in, run
from edsl.errors import EdslError


def ablate(spec: str | None, task: str | None, settings: dict[str, Any], running: Running) -> None:
    """Race a pipeline against itself without each of its parts."""
    from edsl.lab.ablation import ablation
    from edsl.lab.race import race

    if running.resume and spec is None:
        if running.out is None:
            raise EdslError("--resume needs --out: the folder of the ablation to finish")
        run(held_in(running.out), running)
        return
    if spec is None or task is None:
        raise EdslError("name a spec and a task, such as: edsl ablate alto --task digits")
    run(race(task, ablation(spec), kind="ablate", **settings), running)
