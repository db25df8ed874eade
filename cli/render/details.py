"""One thing that has a name, in detail."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill
from typing import Any

from edsl.cli.render.page import Page

WIDEST = 100  # columns of running text


def print_detail(found: dict[str, Any]) -> None:
    """What it is, its arguments, tasks or models, and a command that goes on from there."""
    page = Page()
    page.print(f"{found['name']}, {found['kind']}", style="bold", markup=False)
    told = [
        part for text in (found["about"], found.get("more", "")) for part in _paragraphs(text, min(page.width, WIDEST))
    ]
    page.print("\n\n".join(told), markup=False, soft_wrap=True)
    for key, value in found.items():
        if key in ("name", "kind", "about", "more"):
            continue
        if isinstance(value, list) and value and isinstance(value[0], dict):
            titles = list(value[0])
            rows = [[_shown(row[title]) for title in titles] for row in value]
            page.print_columns(titles, rows, words=titles[1:])
        else:
            page.print(fill(f"{key}: {_said(value)}", min(page.width, WIDEST)), markup=False, soft_wrap=True)


def _paragraphs(text: str, width: int) -> Iterator[str]:
    """Running text in lines of a width; of what is set in, such as recurrences and arguments, each line by itself."""
    for block in text.strip("\n").split("\n\n"):
        lines = block.split("\n")
        if not block or lines[0] == "Raises:":
            continue
        if not any(line.startswith(" ") for line in lines):
            lines = [" ".join(lines)]
        yield "\n".join(_broken(line, width) for line in lines)


def _broken(line: str, width: int) -> str:
    deeper = " " * (len(line) - len(line.lstrip())) + ("    " if line.startswith(" ") else "")
    return fill(line, width, subsequent_indent=deeper, break_long_words=False, break_on_hyphens=False)


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "–" if value is None else str(value)
