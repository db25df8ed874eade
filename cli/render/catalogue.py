"""The words of the language: stages, recipes and tasks."""

from __future__ import annotations

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
    page.print(words["foreign"], soft_wrap=True)
