"""A race: what it would take, what came out, what can be concluded and what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.text import Text

from edsl.cli.render.lines import next_command
from edsl.cli.render.page import Page, print_note
from edsl.language.rules.texts import line_of

if TYPE_CHECKING:
    from edsl.lab.races.race import Race
    from edsl.lab.results.result_tables import Line, ResultTable
    from edsl.lab.results.results import Results


def print_forecast(race: Race, expected: dict[str, Any]) -> None:
    """What a race would take."""
    page = Page()
    page.say(race_line(race))
    jobs = expected["jobs"]
    count = len(race.entrants)
    page.say(
        f"{count} optimizer{'s' if count > 1 else ''}, at most {expected['trials']} trials, about "
        f"{duration(expected['seconds'])} with {jobs} job{'s' if jobs > 1 else ''}"
    )
    for entrant in race.entrants:
        page.say(f"{entrant.name}: {entrant.about or line_of(entrant.spec)}", begin="  ")


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def race_line(race: Race) -> str:
    """One line: the task, the budget, the seeds."""
    setting, tuning = race.setting, race.tuning
    what = ", ".join(dimension.name for dimension in tuning.dimensions) or "lr"
    pruned = ", hopeless trials stopped" if tuning.prune else ""
    tried = f"{tuning.trials} tried on {tuning.seeds} other seed{'s' if tuning.seeds > 1 else ''}{pruned}"
    tuned = f", {what} tuned ({tuning.tuner}, {tried})" if tuning.tuner else ""
    most = f" of at most {race.looks[-1]}" if race.looks else ""
    scheduled = f", {setting.schedule} lr" if setting.schedule != "constant" else ""
    return (
        f"{setting.task} ({setting.model}), batch {setting.batch}, {setting.budget:g} {setting.unit}{scheduled}, "
        f"{race.seeds} seed{'s' if race.seeds > 1 else ''}{most}{tuned}, {setting.device}"
    )


def print_race(race: Race, found: Results) -> None:
    """What can be concluded, the table that decides, the other figures, and what it cost."""
    from edsl.lab.report.conclusions import conclusions
    from edsl.lab.results.result_tables import as_text, costs, reading, rest, summary, target_text

    page = Page()
    page.say(race_line(race))
    for line in conclusions(race, found) if race.kind != "sweep" else ():
        page.say(line, begin="  ")
    page.print()
    page.print(escape(as_text(summary(race, found), page.width)), soft_wrap=True)
    _table(page, rest(race, found))
    _table(page, costs(race, found))
    page.say(target_text(race, found))
    if any(row.lr_on_edge for row in found.rows):
        what = "value" if race.tuning.space else "learning rate"
        page.say(f"edge: the best {what} is the smallest or largest tried: a better one may lie beyond")
    for line in reading(race, found):
        page.say(line)
    for row in found.rows:
        for reason in row.reasons:
            print_note(f"{row.name}: {reason}")


def print_results(folder: Path) -> None:
    """Where a race's record lies, and what makes a page of it."""
    print_note(f"results: {folder}; a page of them:{next_command('report', folder)}")


def _table(page: Page, shown: ResultTable) -> None:
    from edsl.lab.results.result_tables import WORDS

    rows = [[_name(line), *line.cells] for line in shown.lines]
    page.print_columns(["optimizer", *shown.titles], rows, words=WORDS)


def _name(line: Line) -> Text:
    return Text.assemble(line.name, (f"  {line.ended}" if line.ended else "", "red"))
