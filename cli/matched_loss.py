"""What runs were like at equal training loss, printed and drawn."""

from __future__ import annotations

from typing import Any

from edsl.cli.render.page import print_json, print_note
from edsl.cli.render.sharpness import print_sharpness
from edsl.errors import EdslError
from edsl.plotting import write_plain_numbers


def print_matched_loss(race: Any, record: Any, as_json: bool) -> None:
    """Print what finished runs were like at each level, and draw it beside their record."""
    from edsl.lab.report.matched_loss import picture
    from edsl.lab.results.matched_loss import matched, records, seen_in

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
        drawn = picture(race, found)
        write_plain_numbers(drawn)
        drawn.savefig(place, dpi=150)
    except EdslError as reason:  # without matplotlib
        print_note(f"no picture: {reason}")
    except OSError as reason:
        raise EdslError(f"can't write {place}: {reason.strerror or reason}") from None
    else:
        print_note(f"picture: {place}")
