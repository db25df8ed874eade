"""A segment's step as expressions."""

from __future__ import annotations

from dataclasses import dataclass

from edsl.codegen.expression import Expression


@dataclass(frozen=True)
class Recording:
    """A segment's step as expressions.

    Attributes:
        made: the next θ, or what flows out.
        buffers, after: its memory before and after.
        updates: `made` is the next θ.
    """

    made: Expression
    buffers: list[Expression]
    after: list[Expression]
    updates: bool
