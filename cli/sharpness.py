"""`edsl sharpness`: the top Hessian eigenvalue and drift at matched training loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edsl.cli.asked import check_effective, resumed, resumes
from edsl.cli.compare import run
from edsl.cli.options import Running
from edsl.cli.render.page import print_json, print_note
from edsl.cli.render.sharpness import print_sharpness
from edsl.errors import EdslError


def sharpness(task: str | None, specs: Sequence[str], levels: str, settings: dict[str, Any], running: Running) -> None:
    """Train every spec on every seed, look when its training loss first falls to each level, and at the end."""
    from edsl.lab.races.race import race
    from edsl.lab.trials.levels import read_levels

    if resumes(running, specs):
        run(resumed(running, task, specs), running)
        return
    if task is None or not specs:
        raise EdslError("name a task and at least one spec, such as: edsl sharpness adam eadam --task digits")
    check_effective(running.asked)
    run(race(task, specs, kind="sharpness", levels=read_levels(levels), **settings), running)


def tell(race: Any, record: Any, as_json: bool) -> None:
    """Print what finished runs were like at each level, and draw it beside their record."""
    from edsl.lab.results.matched_loss import matched, picture, records, seen_in

    found = seen_in(race, record.finished)
    rows = matched(race, found)
    if as_json:
        print_json({**race.configuration(), "out": str(record.folder), "rows": records(rows)})
    else:
        print_sharpness(race, rows)
    for trial in record.finished:
        if trial["reason"]:
            print_note(f"{trial['spec']}, seed {trial['seed']}: {trial['reason']}")
    place = record.folder / "sharpness.png"
    try:
        picture(race, found).savefig(place, dpi=150)
    except EdslError as reason:  # without matplotlib
        print_note(f"no picture: {reason}")
    except OSError as reason:
        raise EdslError(f"can't write {place}: {reason.strerror or reason}") from None
    else:
        print_note(f"picture: {place}")
