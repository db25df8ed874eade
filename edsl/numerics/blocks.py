"""How a large matrix is cut into blocks that are preconditioned alone."""

from __future__ import annotations


def block_shapes(rows: int, columns: int, size: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of all left (p × p) and right (q × q) factors of a matrix in blocks of at most size × size.

    Example:
        >>> from edsl.numerics.blocks import block_shapes
        >>> block_shapes(1500, 300, 1024)
        ((2, 1, 750, 750), (2, 1, 300, 300))
    """
    (r, p), (c, q) = cut(rows, size), cut(columns, size)
    return (r, c, p, p), (r, c, q, q)


def cut(length: int, size: int) -> tuple[int, int]:
    """How many blocks, and how long each: as few as can be, then as short as can be."""
    count = max(1, -(-length // size))
    return count, -(-length // count)
