"""Where a command prints: stdout for its result, stderr for all else; and how it writes numbers."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from edsl.as_json import as_json
from edsl.cli.render.lines import asked_width, broken, told
from edsl.errors import printable

_PIPED_WIDTH = 160  # of a table that neither a terminal nor COLUMNS bounds
_BROKEN = 24  # columns that names and words get at least


class PlainConsole(Console):
    """A console on which text is text: what a name or a record holds commands no terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


class Page:
    """Where a command prints: a terminal, or a pipe, whose lines lose the spaces that fill a table."""

    def __init__(self) -> None:
        piped = not sys.stdout.isatty()
        asked = asked_width()
        width = (asked or _PIPED_WIDTH) if piped else None
        self.console = PlainConsole(highlight=False, width=width)
        self.piped = piped
        self.text_width = (asked or sys.maxsize) if piped else self.console.width  # a pipe alone breaks no sentence

    @property
    def width(self) -> int:
        return self.console.width

    def print(self, *things: Any, **options: Any) -> None:
        if not self.piped:
            self.console.print(*things, **options)
            return
        with self.console.capture() as captured:
            self.console.print(*things, **options)
        print("\n".join(line.rstrip() for line in captured.get().split("\n")), end="")

    def say(self, text: str, begin: str = "", verdict: str = "", style: str = "") -> None:
        """Running text, broken between words, behind a mark such as "- ".

        Args:
            verdict: its first words, in bold.
        """
        line = Text(broken(verdict + text, self.text_width, begin), style)
        line.stylize("bold", len(begin), len(begin + verdict))
        self.print(line, soft_wrap=True)

    def print_spec(self, spec: str) -> None:
        """A spec or the text of rules in bold, in lines as they are: it is there to be copied."""
        self.print(Text(spec, "bold"), soft_wrap=True)

    def print_columns(
        self, titles: Sequence[str], rows: Sequence[Sequence[str | Text]], words: Sequence[str] = ()
    ) -> None:
        """A table of figures beside names; in several, each with the names, where it is wider than the page.

        Args:
            titles: with a line break where a title may be broken. The first is the names'.
            words: the titles of columns that hold words, which may be broken.
        """
        widths = {title: _width(title, cells) for title, *cells in zip(titles, *rows, strict=True)}
        for title in {*words} & widths.keys():
            widths[title] = min(widths[title], _BROKEN)
        widths[titles[0]] = min(widths[titles[0]], max(_BROKEN, 2 * self.width // 5))
        named, *others = widths.values()
        for part in _parts(others, self.width - named - 4):
            table = Table(box=SIMPLE_HEAD)
            table.add_column(titles[0], overflow="fold", min_width=named)
            for number in part:
                title = titles[number]
                if title in words:
                    table.add_column(title, min_width=widths[title])
                else:
                    table.add_column(title, justify="right", no_wrap=True)
            for row in rows:
                table.add_row(*(_as_it_is(row[number]) for number in (0, *part)))
            self.print(table)


def _parts(widths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Which columns, counted from 1, fit into some room together."""
    part: list[int] = []
    left = room
    for number, wide in enumerate(widths, start=1):
        if part and left < wide + 3:
            yield part
            part, left = [], room
        part.append(number)
        left -= wide + 3
    yield part


def _width(title: str, cells: Sequence[str | Text]) -> int:
    return max(map(len, (*title.split("\n"), *cells)))


def _as_it_is(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


def print_note(message: str) -> None:
    """A message on stderr, beside the result."""
    told(message, sys.stderr)


def print_json(value: Any) -> None:
    """A value as JSON on stdout."""
    plain = "utf" not in (sys.stdout.encoding or "").lower()
    text = json.dumps(as_json(value), indent=2, ensure_ascii=plain, allow_nan=False)
    print(
        re.sub("[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text)
    )  # the controls that it leaves as they are


def print_text(text: str) -> None:
    """Text for a file or a pipe, as it is."""
    print(text)


def formatted(value: float | None, form: str) -> str:
    """A number, or a dash for none."""
    return "–" if value is None or value != value else format(value, form)
