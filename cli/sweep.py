"""`edsl sweep`: one pipeline over a grid of hyper-parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edsl.cli.asked import check_effective, resumed, resumes
from edsl.cli.named_task import task_and_spec
from edsl.cli.options import Running
from edsl.cli.render.page import print_note
from edsl.cli.run import run
from edsl.errors import EdslError


def sweep(
    words: Sequence[str], task: str | None, grids: Sequence[str], settings: dict[str, Any], running: Running
) -> None:
    """Race every combination; print each one's figures and its difference to the pipeline without E."""
    from edsl.lab.races import sweep as swept
    from edsl.lab.races.build import race

    task, spec = task_and_spec(task, words, "sweep")
    controls = settings.pop("controls")
    if running.resume and (spec is None) != (not grids):
        raise EdslError("with --resume, give both SPEC and --grid, or neither (the record has them)")
    if resumes(running):
        given = [] if spec is None else swept.sweep(spec, grids, controls).entrants
        run(resumed(running, task, given), running)
        return
    if spec is None or task is None:
        raise EdslError("name a spec and a task, such as: edsl sweep alto --grid alpha=-5,5 --task digits")
    check_effective(running.asked)
    found = swept.sweep(spec, grids, controls)
    for name, reason in found.refused:
        print_note(f"left out {name}: {reason}")
    run(race(task, found.entrants, kind="sweep", **settings), running)
