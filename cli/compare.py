"""`edsl compare`: a race, watched."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from edsl.cli import render
from edsl.errors import EdslError


def compare(
    task: str | None,
    specs: list[str] | None,
    budget: dict[str, Any],
    as_json: bool,
    out: Path | None,
    resume: bool,
) -> None:
    """Run a race into its folder and print its table, or its summary as JSON.

    Args:
        budget: model, batch, epochs, steps, seeds, device, threads and monitor, as `race` takes them.
    """
    from edsl.lab.race import open_record, race

    if resume and out is None:
        raise EdslError("--resume needs --out: the folder of the race to finish")
    if out == Path("."):
        raise EdslError("--out must name a folder of its own, got the current one")
    if resume and out is not None and task is None:
        chosen = _held_in(out)
    elif task is None or not specs:
        raise EdslError("name a task and at least one spec, such as: edsl compare digits 'alto(lr=0.01)'")
    else:
        chosen = race(task, specs, **budget)
    folder = out or Path("runs") / f"{chosen.task.name}-{datetime.now():%Y%m%d-%H%M%S}"
    record = open_record(chosen, folder, resume)
    try:
        with render.race_progress() as watch:
            rows = chosen.run(record, watch)
    except KeyboardInterrupt:
        render.note(f"interrupted; edsl compare --resume --out {folder} finishes it")
        raise
    if as_json:
        render.json_out({**chosen.configuration(), "out": str(folder), "rows": [row.record() for row in rows]})
    else:
        render.race_table(chosen.configuration(), rows)
        render.note(f"results: {folder}")


def _held_in(folder: Path) -> Any:
    """The race that a folder holds."""
    from edsl.lab.race import race
    from edsl.lab.record import read_configuration

    held = read_configuration(folder)
    try:
        return race(held.pop("task"), held.pop("specs"), **held)
    except (AttributeError, KeyError, TypeError):
        raise EdslError(f"{folder} holds no race that this edsl can resume; name another --out") from None
