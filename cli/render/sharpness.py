"""Sharpness and drift at matched loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edsl.cli.render.page import Page
from edsl.cli.render.race import race_line

if TYPE_CHECKING:
    from edsl.lab.races.race import Race
    from edsl.lab.results.matched_loss import Matched


def print_sharpness(race: Race, rows: Sequence[Matched]) -> None:
    """Sharpness and drift by level of the training loss, each beside the first optimizer's."""
    from edsl.lab.results.level_tables import TITLES, footnotes, level_tables
    from edsl.lab.results.result_tables import WORDS

    page = Page()
    page.say(race_line(race))
    for table in level_tables(rows):
        page.print(f"[bold]{table.head}[/bold]")
        page.print_columns(TITLES, table.rows, words=WORDS)
    for line in footnotes(race, rows):
        page.say(line)
