"""What has a name: stages, recipes, tasks, suites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from edsl.cli.render.page import Page


def print_catalogue(words: dict[str, Any]) -> None:
    """Stages with their arguments, recipes, tasks and suites: what of them is there."""
    page = Page()
    if words.get("stages"):
        _print_stages(page, words["stages"])
    for title in ("recipes", "tasks", "suites"):
        rows = words.get(title, ())
        if rows:
            table = Table(title=title, title_justify="left")
            for column in rows[0]:
                table.add_column(column, overflow="fold")
            for row in rows:
                table.add_row(*map(escape, row.values()))
            page.print(table)
    for note in ("zoo", "foreign", "detail"):
        if note in words:
            page.say(words[note])


def _print_stages(page: Page, words: Sequence[dict[str, Any]]) -> None:
    stages = Table(title="stages", title_justify="left")
    stages.add_column("stage, argument", no_wrap=True)
    stages.add_column("default", no_wrap=True)
    stages.add_column("values", overflow="fold")
    for stage in words:
        arguments = stage["arguments"].items()
        stages.add_row(f"[bold]{stage['stage']}[/bold], {stage['kind']}", "", "", end_section=not arguments)
        for number, (name, argument) in enumerate(arguments, start=1):
            place = f"betas[{stage['betas'].index(name)}]" if len(stage["betas"]) > 1 and name in stage["betas"] else ""
            values = (f"  {name}", argument["default"], escape(f"{argument['domain']}  {place}".rstrip()))
            stages.add_row(*values, end_section=number == len(arguments))
    page.print(stages)
    for stage in words:
        page.say(f"  {stage['about']}", begin="  ", verdict=stage["stage"])
    page.print()


def print_zoo(words: dict[str, Any]) -> None:
    """Entries of the zoo: what each is, and where it is from."""
    page = Page()
    table = Table(title="the zoo: edsl show NAME prints an entry's recurrence", title_justify="left")
    table.add_column("entry", no_wrap=True)
    table.add_column("what it is, and its source", overflow="fold")
    for entry in words["zoo"]:
        about = f"{escape(entry['about'])}\n[dim]{escape(entry['source'])}[/dim]"
        table.add_row(f"[bold]{entry['entry']}[/bold]\n{entry['kind']}", about, end_section=True)
    page.print(table)
