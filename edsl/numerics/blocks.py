"""The shapes of what preconditions a matrix: of blocks of a large one, each by itself, and of two factors."""

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


def factor_shapes(rows: int, columns: int, largest: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The shapes of both factors: a side above `largest`, and those of a single row or column, have diagonals.

    Example:
        >>> from edsl.numerics.blocks import factor_shapes
        >>> factor_shapes(768, 50257, 8192)
        ((768, 768), (50257, 1))
    """
    whole = min(rows, columns) > 1
    left, right = (size if whole and size <= largest else 1 for size in (rows, columns))
    return (rows, left), (columns, right)
