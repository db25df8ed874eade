"""Lines that fit the page: running text is broken between words, and no word is broken."""

from __future__ import annotations

import os
import shlex
import textwrap
from pathlib import Path
from typing import TextIO

from edsl.errors import printable

_QUOTED = "    "  # what begins a line of somebody's text, which stays as it is


def broken(text: str, width: int, begin: str = "") -> str:
    """Running text in lines of at most so many columns, unless a word alone is longer.

    Lines that are set in, such as a spec with a caret below it, stay as they are.

    Args:
        begin: what stands before the first line, such as "- "; the others are set in as far.
    """
    indent = " " * len(begin)
    lines: list[str] = []
    for number, line in enumerate(text.split("\n")):
        if number and line.startswith(_QUOTED):
            lines.append(line)
            continue
        mark = indent if number and line else begin if not number else ""
        lines += [mark + line] if len(mark) + len(line) <= width else _wrapped(line, width, mark, indent)
    return "\n".join(lines)


def _wrapped(line: str, width: int, begin: str, indent: str) -> list[str]:
    return textwrap.wrap(
        line,
        width,
        initial_indent=begin,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def asked_width() -> int | None:
    """The columns that COLUMNS asks for."""
    asked = os.environ.get("COLUMNS", "")
    return int(asked) if asked.isdecimal() and asked != "0" else None


def told(message: str, stream: TextIO, begin: str = "") -> None:
    """Print a message on a terminal, or in as many columns as COLUMNS asks for; elsewhere each of its lines is one."""
    width = asked_width()
    if width is None and stream.isatty():
        width = os.get_terminal_size(stream.fileno()).columns
    safe = printable(message)
    print(begin + safe if not width else broken(safe, width, begin), file=stream)


def next_command(*words: str | Path) -> str:
    """A command that goes on from here, as a shell takes it: on a line of its own, which is never broken."""
    return f"\n{_QUOTED}edsl {shlex.join(map(str, words))}"
