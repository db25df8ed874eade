"""How a tensor of coded elements lies in memory: row by row, each row's codes followed by what tells their scales.

A row is what one index of a tensor's first dimension selects, so that a tensor that is cut over processes along that
is cut with its scales. Short rows, and vectors, are one row together. Each row is cut into blocks of 256 elements, of
which the last may be shorter. A block's header is 16 bits: its exponent e, shifted up by one, and whether none of its
elements is negative. All in one tensor of bytes, so that no scale is ever parted from its codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

BLOCK = 256  # elements that share a scale
NARROW = 32  # elements of a row below which rows are taken together
FEWEST = 256  # elements of a tensor below which nothing is gained
HEADER = 2  # bytes


@dataclass(frozen=True)
class RowLayout:
    """One row: `width` elements in codes of some bits.

    Attributes:
        blocks: how many there are.
        code_bytes: those of its codes, a multiple of 4.
        bytes: those of the row, a multiple of 4.
    """

    width: int
    bits: int

    @property
    def blocks(self) -> int:
        return -(-self.width // BLOCK)

    @property
    def code_bytes(self) -> int:
        return -(-self.width * self.bits // 32) * 4

    @property
    def bytes(self) -> int:
        return self.code_bytes + -(-self.blocks * HEADER // 4) * 4


def width_of(shape: Sequence[int]) -> int:
    """The elements of a row of a tensor of this shape."""
    count = prod(shape)
    own = count // max(1, shape[0]) if len(shape) > 1 else count
    return own if own >= NARROW else count


def in_rows(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a stack of matrices, or of blocks, of which every row is a row of codes, as one matrix."""
    return tuple(shape) if len(shape) < 3 else (prod(shape[:-1]), shape[-1])


def lies_in_rows(shape: Sequence[int]) -> bool:
    """Whether each index of the first dimension is a row of its own."""
    return len(shape) > 1 and width_of(shape) * shape[0] == prod(shape)


def is_worth_it(shape: Sequence[int]) -> bool:
    """Whether a tensor of this shape takes fewer bytes in codes, headers and padding included."""
    return prod(shape) >= FEWEST
