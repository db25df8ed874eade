"""`edsl sweep`: one pipeline over a grid of hyper-parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edsl.cli.compare import Running, held_in, run
from edsl.cli.render.page import print_note
from edsl.errors import EdslError


def sweep(spec: str | None, task: str | None, grids: Sequence[str], settings: dict[str, Any], running: Running) -> None:
    """Race every combination; print each one's figures and its difference to the pipeline without E."""
    from edsl.lab import sweep as swept
    from edsl.lab.race import race

    if running.resume and spec is None:
        if running.out is None:
            raise EdslError("--resume needs --out: the folder of the sweep to finish")
        run(held_in(running.out), running)
        return
    if spec is None or task is None:
        raise EdslError("name a spec and a task, such as: edsl sweep alto --grid alpha=-5,5 --task digits")
    controls = settings.pop("controls")
    found = swept.sweep(spec, grids, controls)
    for name, reason in found.refused:
        print_note(f"left out {name}: {reason}")
    run(race(task, found.entrants, kind="sweep", **settings), running)
