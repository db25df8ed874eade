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
    for name in ("stage", "kind", "argument", "default", "values"):
        stages.add_column(name, no_wrap=name != "values")
    for stage in words["stages"]:
        arguments = [
            (name, argument["default"], escape(argument["domain"])) for name, argument in stage["arguments"].items()
        ] or [("", "", "")]
        for number, argument in enumerate(arguments, start=1):
            head = (stage["stage"], stage["kind"]) if number == 1 else ("", "")
            stages.add_row(*head, *argument, end_section=number == len(arguments))
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
            table.add_column(column)
        for word in words[key]:
            table.add_row(*(escape(word[column]) for column in columns))
        page.print(table)
    page.print(words["foreign"], soft_wrap=True)
