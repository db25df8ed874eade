"""`edsl report`: one page of what races gave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edsl.cli.asked import held_in
from edsl.cli.render.lines import next_command
from edsl.cli.render.page import print_note, print_text
from edsl.errors import EdslError


def report(folders: Sequence[Path], targets: str | None, sinks: Sequence[str], out: Path | None) -> None:
    """Write report.html, and pictures and tables beside each race's record; export to the viewers named."""
    from edsl.lab.report.page import write
    from edsl.lab.report.sinks import sink
    from edsl.lab.results.results import together

    exports = [sink(name) for name in sinks]
    place = out or folders[0]
    found, overview = _suite(folders, targets) if len(folders) == 1 else (None, None)
    races = [_held(folder, targets) for folder in folders] if found is None else found
    judged = together([(race, results) for race, results, *_ in races])
    races = [
        (race, results, finished, folder) for (race, _, finished, folder), results in zip(races, judged, strict=True)
    ]
    try:
        place.mkdir(parents=True, exist_ok=True)
        written = write(races, place, overview)
    except OSError as reason:
        raise EdslError(f"can't write a report to {place}: {reason.strerror or reason}") from None
    print_note(f"beside it: {', '.join(sorted({other.name for other in written.others}))}")
    for export in exports:
        for race, results, finished, folder in races:
            print_note(export(race, results, finished, folder))
    print_text(str(written.page))


def _read(folder: Path) -> tuple[Any, Any]:
    """A folder's race and its trials."""
    from edsl.lab.races.record import finished_in

    race = held_in(folder)
    finished = finished_in(folder)
    if not finished:
        raise EdslError(
            f"{folder} has no finished trial yet; run:{next_command('compare', '--resume', '--out', folder)}"
        )
    missing = sum(1 for _ in race.ready({(trial["spec"], trial["seed"]): trial for trial in finished}))
    if missing:
        print_note(f"{folder} is not finished: the page is of {len(finished)} trials of at most {race.planned}")
    return race, finished


def _held(folder: Path, targets: str | None) -> tuple[Any, Any, Any, Path]:
    """A folder's race, its results and its trials."""
    from edsl.lab.results.results import results
    from edsl.lab.results.targets import read_targets

    race, finished = _read(folder)
    return race, results(race, finished, read_targets(targets, race)), finished, folder


def _suite(folders: Sequence[Path], targets: str | None) -> tuple[Any, Any]:
    """The races of a suite's folder, to its own targets, and what is told of all; None for a race's own folder."""
    from edsl.lab.races.suites import suite_in
    from edsl.lab.report.overview import of_scores
    from edsl.lab.results.results import results
    from edsl.lab.results.scores import common_target, scores

    (folder,) = folders
    suite = suite_in(folder)
    if suite is None:
        return None, None
    places = [folder / workload.folder for workload in suite.workloads]
    held = [_read(place) for place in places]
    if suite.by_batch:
        return _by_batch(suite, held, places, targets)
    if targets is not None:
        raise EdslError("--targets is of one task; those of a suite have their own")
    aims = [
        common_target(race, finished) if workload.target is None else workload.target
        for (race, finished), workload in zip(held, suite.workloads)
    ]
    found = [
        (race, results(race, finished, () if aim is None else (aim,)), finished, place)
        for (race, finished), aim, place in zip(held, aims, places)
    ]
    return found, of_scores(scores(held, aims))


def _by_batch(suite: Any, held: Sequence[Any], places: Sequence[Path], targets: str | None) -> tuple[Any, Any]:
    """The races of one task at several batches, and what is told of all."""
    from edsl.lab.report.overview import of_batches
    from edsl.lab.results.scaling import told_together
    from edsl.lab.results.targets import read_targets

    told = told_together(held, read_targets(targets or suite.targets or None, held[0][0]))
    found = [(race, one, finished, place) for (race, one), (_, finished), place in zip(told, held, places)]
    return found, of_batches(told, suite.scale_lr)
