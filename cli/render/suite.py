"""Several tasks: what they would take, and one score over all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.text import Text

from edsl.cli.render.page import Page
from edsl.cli.render.race import duration, race_line

if TYPE_CHECKING:
    from edsl.lab.races.race import Race
    from edsl.lab.results.results import Results
    from edsl.lab.results.scores import Scores


def print_suite_forecast(races: Sequence[Race], seconds: Sequence[float], jobs: int, by_batch: bool) -> None:
    """What a suite would take, task by task, or batch by batch."""
    page = Page()
    for race, each in zip(races, seconds):
        trials = f"at most {race.planned} trials"
        page.say(f"{race_line(race)}: {trials}, about {duration(each)}")
    count = len(races[0].entrants)
    page.say(
        f"{count} optimizer{'s' if count > 1 else ''} {'at' if by_batch else 'on'} {len(races)} "
        f"{'batches' if by_batch else 'tasks'}, at most "
        f"{sum(race.planned for race in races)} trials, about {duration(sum(seconds))} with {jobs} "
        f"job{'s' if jobs > 1 else ''}"
    )


def print_suite(name: str, races: Sequence[Race], found: Scores) -> None:
    """What is concluded, the score of each optimizer, and what each took on each task."""
    from edsl.lab.results.score_tables import by_task, findings, notes, score_table

    page = Page()
    whole = f"suite {name}: " if name else ""
    said = f"{whole}{len(races)} tasks, {races[0].seeds} seeds, compared to {found.baseline}"
    page.say(said)
    for line in findings(found):
        page.say(line)
    for table, words in ((score_table(found), ("verdict",)), (by_task(found), ())):
        rows = [[Text(line.name), *line.cells] for line in table.lines]
        page.print_columns(["optimizer", *table.titles], rows, words=words)
    for line in notes(found):
        page.say(line)


def print_batches(races: Sequence[tuple[Race, Results]], rule: str) -> None:
    """One task at several batches: what can be said, and steps, seconds and the metric at each, by optimizer."""
    from edsl.lab.results.result_tables import as_text
    from edsl.lab.results.scaling import batch_tables, findings, notes

    page = Page()
    race, _ = races[0]
    batches = ", ".join(str(one.setting.batch) for one, _ in races)
    said = f"{race.setting.task} ({race.setting.model}), batches {batches}, {race.seeds} seeds, {race.setting.device}"
    page.say(f"{said}, compared to {race.baseline}")
    for line in findings(races):
        page.say(line, begin="  ")
    for name, table in batch_tables(races):
        page.print()
        page.say(name)
        page.print(escape(as_text(table, page.width, "batch")), soft_wrap=True)
    page.print()
    for line in notes(races, rule):
        page.say(line)
