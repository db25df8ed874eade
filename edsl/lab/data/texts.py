"""Texts as rows, for models that bring their own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Texts:
    """Rows of text: each a tuple of one text or two, or of the words of one.

    A model makes tokens of them, so that they are the same data for every model. They are on no device.

    Example:
        >>> from edsl.lab.data.texts import Texts
        >>> texts = Texts([("a sentence", "another"), ("one more", "and its pair")])
        >>> len(texts), texts[:1].rows
        (2, [('a sentence', 'another')])
    """

    def __init__(self, rows: Sequence[tuple[str, ...]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Any) -> Texts:
        """Some rows, for a slice or a tensor of their numbers."""
        return Texts(self.rows[rows] if isinstance(rows, slice) else [self.rows[row] for row in rows.tolist()])

    def to(self, device: Any) -> Texts:
        """The same: the model moves the tokens."""
        return self

    def split(self, size: int) -> list[Texts]:
        """Parts of so many rows, in their order; the last may have fewer."""
        return [self[first : first + size] for first in range(0, len(self), size)]
