"""The lines of a rule: its buffers, and the values that its author gave a name, in the order of the rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edsl.language.rules.syntax.parameters import letter
from edsl.theory.text.alphabet import Alphabet
from edsl.theory.text.formula import Formula, deserves_a_line


def in_order_of_locals(
    names: Sequence[tuple[str, Any]], named: Sequence[tuple[str, Any]], alphabet: Alphabet
) -> list[tuple[str, Any]]:
    """Buffers by their letters, and named values by theirs, where the rule names them.

    Args:
        names: of the new memory. named: what the rule calls values on its way, buffers among them.
    """
    of_buffers = {id(entry): name for name, entry in names}
    ordered = [(name, entry) for name, entry in names if all(entry is not value for _, value in named)]
    for name, value in named:
        if id(value) in of_buffers:
            ordered.append((of_buffers[id(value)], value))
        elif isinstance(value, Formula) and value.name is None and deserves_a_line(value):
            ordered.append((f"{alphabet.claim(letter(name))}ₖ", value))
    return ordered
