"""`edsl sharpness`: the top Hessian eigenvalue and drift at matched training loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edsl.cli import render
from edsl.errors import EdslError


def sharpness(
    task: str | None, specs: Sequence[str], levels: str, settings: dict[str, Any], as_json: bool, out: Path | None
) -> None:
    """Train every spec on every seed, look when its training loss first falls to each level, and at the end."""
    from edsl.lab.driver import Progress
    from edsl.lab.measures import check_measures
    from edsl.lab.race import race
    from edsl.lab.sharpness import looks, matched, picture, read_levels, records

    if task is None or not specs:
        raise EdslError("name a task and at least one spec, such as: edsl sharpness adam eadam --task digits")
    at = read_levels(levels)
    check_measures(["sharpness"])
    if out is not None and out.suffix not in (".png", ".svg", ".pdf"):
        raise EdslError(f"--out must end in .png, .svg or .pdf, got {out.name!r}")
    chosen = race(task, specs, **settings)
    order = [(entrant.name, seed) for entrant in chosen.entrants for seed in range(chosen.seeds)]
    with render.race_progress() as watch:

        def tick(name: str, seed: int, step: int) -> None:
            watch(Progress(order.index((name, seed)), len(order), name, seed, step, chosen.setting.budget))

        found = looks(chosen, at, tick)
    rows = matched(chosen, found)
    if as_json:
        render.json_out({**chosen.configuration(), "levels": list(at), "rows": records(rows)})
    else:
        render.sharpness(chosen, rows)
    if out is not None:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            picture(chosen, found).savefig(out, dpi=150)
        except OSError as reason:
            raise EdslError(f"can't write {out}: {reason.strerror or reason}") from None
        render.note(f"picture: {out}")
