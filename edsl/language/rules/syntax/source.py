"""The text of rules as lines, and errors that point into it."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

from edsl.errors import SpecError, shown
from edsl.language.rules.syntax.tree import Place

MOST_CHARACTERS = 100_000
NO_FILE = "/dev/null/rules"  # where Python's parser looks for the line of a mistake: there can be no such file
MOST_NESTING = 60  # of brackets, before Python's parser sees them


@dataclass(frozen=True)
class Source:
    """The text of definitions.

    Attributes:
        name: the file that it was read from, "" for none.
    """

    text: str
    name: str = ""

    @cached_property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    def place(self, node: Any) -> Place:
        """Where a node of `ast` begins, which counts UTF-8 bytes."""
        line, offset = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        written = self.lines[line - 1] if line <= len(self.lines) else ""
        return Place(line, len(written.encode()[:offset].decode(errors="replace")))

    def error(self, message: str, at: Any) -> SpecError:
        """What is wrong at a place, or at a node of `ast` or of the tree."""
        place = at if isinstance(at, Place) else getattr(at, "place", None) or self.place(at)
        where = f"{self.name}, line {place.line}" if self.name else f"line {place.line}"
        line = self.lines[place.line - 1] if place.line <= len(self.lines) else ""
        return SpecError(f"{message} ({where})", line, min(place.column, len(line)))

    def refuse(self, message: str, at: Any) -> NoReturn:
        raise self.error(message, at)

    def parsed(self) -> Sequence[ast.stmt]:
        """The statements of the text, by Python's own `ast`, never evaluated.

        Raises:
            SpecError: for what is no Python, or would be too much for its parser.
        """
        self._check_characters()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(self.text, NO_FILE).body
        except SyntaxError as error:
            line = min(max(error.lineno or 1, 1), len(self.lines))
            column = min(max((error.offset or 1) - 1, 0), len(self.lines[line - 1]))
            self.refuse(f"can't read this: {str(error.msg)[:80]}", Place(line, column))
        except (ValueError, MemoryError, RecursionError):
            self.refuse("can't read this: it is nested too deeply or holds a bad character", Place(1, 0))

    def _check_characters(self) -> None:
        if len(self.text) > MOST_CHARACTERS:
            self.refuse(f"a text has at most {MOST_CHARACTERS} characters, got {len(self.text)}", Place(1, 0))
        depth = 0
        for number, line in enumerate(self.lines, start=1):
            for column, character in enumerate(line):
                if not character.isprintable() and character not in "\t\r":
                    self.refuse(f"a text has no control characters, got {shown(character)}", Place(number, column))
                depth += (character in "([{") - (character in ")]}")
                if depth > MOST_NESTING:
                    self.refuse(f"brackets are nested more than {MOST_NESTING} deep", Place(number, column))
