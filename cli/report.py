"""`edsl report`: one page of what races gave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edsl.cli.asked import held_in
from edsl.cli.render.page import print_note, print_text
from edsl.errors import EdslError


def report(folders: Sequence[Path], target: float | None, sinks: Sequence[str], out: Path | None) -> None:
    """Write report.html, and pictures and tables beside each race's record; export to the viewers named."""
    from edsl.lab.races.record import finished_in
    from edsl.lab.report.page import write
    from edsl.lab.report.sinks import sink
    from edsl.lab.results.results import results, together

    exports = [sink(name) for name in sinks]
    races = []
    for folder in folders:
        race = held_in(folder)
        finished = finished_in(folder)
        if not finished:
            raise EdslError(f"{folder} has no finished trial yet; run edsl compare --resume --out {folder}")
        missing = sum(1 for _ in race.ready({(trial["spec"], trial["seed"]): trial for trial in finished}))
        if missing:
            print_note(f"{folder} is not finished: the page is of {len(finished)} trials of at most {race.planned}")
        races.append((race, results(race, finished, target), finished, folder))
    judged = together([(race, found) for race, found, *_ in races])
    races = [(race, found, *rest) for (race, _, *rest), found in zip(races, judged, strict=True)]
    place = out or folders[0]
    try:
        place.mkdir(parents=True, exist_ok=True)
        written = write(races, place)
    except OSError as reason:
        raise EdslError(f"can't write a report to {place}: {reason.strerror or reason}") from None
    print_note(f"beside it: {', '.join(sorted({other.name for other in written.others}))}")
    for export in exports:
        for race, found, finished, folder in races:
            print_note(export(race, found, finished, folder))
    print_text(str(written.page))
