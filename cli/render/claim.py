"""A claim of the paper beside edsl's figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from edsl.cli.render.page import Page, print_note

if TYPE_CHECKING:
    from pathlib import Path

    from edsl.lab.claims.claim import Claim


def print_claim(found: Claim, folder: Path) -> None:
    """A claim of the paper beside our figures."""
    from edsl.lab.claims.writing import cell_text

    page = Page()
    colour = {"reproduced": "green", "partly": "yellow", "not seen": "red"}[found.verdict]
    page.print(f"[bold]{escape(found.title)}[/bold]: [{colour}]{found.verdict}[/{colour}]", soft_wrap=True)
    page.print(_said(paper=found.paper, here=found.ours))
    for rows in found.tables:
        table = Table(box=SIMPLE_HEAD)
        columns = list(dict.fromkeys(column for row in rows for column in row))
        for number, column in enumerate(columns):
            table.add_column(escape(column), justify="left" if number == 0 else "right", overflow="fold")
        for row in rows:
            values = [row.get(column, "") for column in columns]
            table.add_row(*(escape(cell_text(value)) for value in values))
        page.print(table)
    page.print(_said(rule=found.rule, but=found.caveat))
    for line in found.commands.splitlines():
        page.say(line, begin="also   ")
    page.print()
    print_note(f"pictures and figures: {folder}")


def _said(**texts: str) -> Table:
    """Texts in lines of the page's width, each behind what it is."""
    grid = Table.grid(padding=(0, 2, 0, 0), pad_edge=True)
    grid.add_column(width=5)
    grid.add_column()
    for what, text in texts.items():
        grid.add_row(what, escape(text))
    return grid
