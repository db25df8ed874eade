"""The words of the language: stages, recipes and tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from edsl.cli.render.page import Page


def print_catalogue(words: dict[str, Any]) -> None:
    """Stages with their arguments, recipes and tasks."""
    page = Page()
    stages = Table(title="stages", title_justify="left")
    stages.add_column("stage, argument", no_wrap=True)
    stages.add_column("default", no_wrap=True)
    stages.add_column("values", overflow="fold")
    for stage in words["stages"]:
        arguments = stage["arguments"].items()
        stages.add_row(f"[bold]{stage['stage']}[/bold], {stage['kind']}", "", "", end_section=not arguments)
        for number, (name, argument) in enumerate(arguments, start=1):
            place = f"betas[{stage['betas'].index(name)}]" if len(stage["betas"]) > 1 and name in stage["betas"] else ""
            values = (f"  {name}", argument["default"], escape(f"{argument['domain']}  {place}".rstrip()))
            stages.add_row(*values, end_section=number == len(arguments))
    page.print(stages)
    for stage in words["stages"]:
        page.print(f"  [bold]{stage['stage']}[/bold]  {escape(stage['about'])}", soft_wrap=True)
    page.print()
    for title, key, columns in (
        ("recipes", "recipes", ("recipe", "spec", "about")),
        ("tasks", "tasks", ("task", "about")),
    ):
        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column, overflow="fold")
        for word in words[key]:
            table.add_row(*(escape(word[column]) for column in columns))
        page.print(table)
    page.print(words["zoo"], soft_wrap=True)
    page.print(words["foreign"], soft_wrap=True)


def print_zoo(entries: Sequence[dict[str, str]]) -> None:
    """Entries of the zoo: what each is, and where it is from."""
    page = Page()
    table = Table(title="the zoo: edsl show NAME prints an entry's recurrence", title_justify="left")
    table.add_column("entry", no_wrap=True)
    table.add_column("what it is, and its source", overflow="fold")
    for entry in entries:
        about = f"{escape(entry['about'])}\n[dim]{escape(entry['source'])}[/dim]"
        table.add_row(f"[bold]{entry['entry']}[/bold]\n{entry['kind']}", about, end_section=True)
    page.print(table)
