"""`edsl compare`: a race, watched."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from edsl.cli import render
from edsl.errors import EdslError


def compare(
    task: str,
    specs: list[str],
    model: str | None,
    batch: int | None,
    epochs: int | None,
    steps: int | None,
    seeds: int,
    device: str,
    threads: int,
    monitor: str,
    as_json: bool,
    out: Path | None,
    resume: bool,
) -> None:
    """Run a race into its folder and print its table, or its summary as JSON."""
    from edsl.lab.race import open_record, race

    if resume and out is None:
        raise EdslError("--resume needs --out: the folder of the race to finish")
    chosen = race(
        task,
        specs,
        model=model,
        batch=batch,
        epochs=epochs,
        steps=steps,
        seeds=seeds,
        device=device,
        threads=threads,
        monitor=monitor,
    )
    folder = out or Path("runs") / f"{task}-{datetime.now():%Y%m%d-%H%M%S}"
    record = open_record(chosen, folder, resume)
    with render.race_progress() as watch:
        rows = chosen.run(record, watch)
    if as_json:
        render.json_out({**chosen.configuration(), "out": str(folder), "rows": [row.record() for row in rows]})
    else:
        render.race_table(chosen.configuration(), rows)
        render.note(f"results: {folder}")
