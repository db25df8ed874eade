"""Which matrices a matrix update makes of a parameter, and where in it each of them lies."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import accumulate
from math import prod
from typing import Any

import torch
from torch import Tensor

from edsl.errors import ShapeError, parameter_called
from edsl.language.pipeline import Pipeline
from edsl.language.rules.names import state_name
from edsl.step.layout import alias

# The kinds of parameters, by the modules that own them, that say how they are taken.
KERNEL = "convolution"  # a convolution's, out × (in · positions)
EXPERTS = "experts"  # of a mixture of experts, (E, m, n)
FUSED = "fused"  # query, key and value in one projection, of equal size
TRANSPOSED = "transposed"  # outputs are columns, as in GPT-2's Conv1D

_ONE = (2, 4, 5)  # dimensions of matrices, and of kernels of convolutions over planes and volumes
_QKV = ("q", "k", "v")
_SHOWN = 4  # matrices of different shapes that a text lists


@dataclass(frozen=True)
class Matrix:
    """One matrix of a parameter: a range of its rows, or of its columns.

    Attributes:
        name: within its parameter, "" of a parameter that is one matrix.
        begin, end: of the range.
        shape: rows and columns.
    """

    name: str
    begin: int
    end: int
    shape: tuple[int, int]


@dataclass(frozen=True)
class Matrices:
    """A parameter as matrices: ranges of the middle dimension of its elements as (outer, length, inner).

    A range of rows has outer = 1 and lies in one piece; one of columns has inner = 1, and is stepped as a copy.
    """

    outer: int
    length: int
    inner: int
    parts: tuple[Matrix, ...]

    @property
    def are_one(self) -> bool:
        """Whether the parameter is one matrix, which a stack of one expert is not: its shape is another."""
        return not self.parts[0].name

    @property
    def lie_in_rows(self) -> bool:
        """Whether each of them lies in one piece."""
        return self.outer == 1

    def take(self, whole: Tensor, part: Matrix) -> Tensor:
        """One matrix of a contiguous tensor of the parameter's elements: an alias, or of columns a copy."""
        if self.lie_in_rows:
            return alias(whole, shape=part.shape, begin=part.begin * self.inner)
        return (
            whole.view(self.outer, self.length, self.inner)[:, part.begin : part.end]
            .reshape(part.shape)
            .clone(memory_format=torch.contiguous_format)
        )

    def put(self, whole: Tensor, part: Matrix, matrix: Tensor) -> None:
        """Bring a copy of one matrix back."""
        there = whole.view(self.outer, self.length, self.inner)[:, part.begin : part.end]
        there.copy_(matrix.view(there.shape))

    @cached_property
    def alike(self) -> bool:
        """Whether all have one shape."""
        return len({part.shape for part in self.parts}) == 1

    def __str__(self) -> str:
        shapes = [f"{part.name}: {part.shape[0]} × {part.shape[1]}".removeprefix(": ") for part in self.parts]
        if self.are_one or (not self.alike and len(shapes) <= _SHOWN):
            return ", ".join(shapes)
        names = [part.name for part in self.parts]
        named = ", ".join(names if len(names) <= _SHOWN else [names[0], names[1], "…", names[-1]])
        rows, columns = self.parts[0].shape
        return f"{len(names)} of {rows} × {columns}: {named}" if self.alike else f"{len(names)} matrices: {named}"


def one_matrix(rows: int, columns: int) -> Matrices:
    """A parameter of this shape as one matrix."""
    return Matrices(1, rows, columns, (Matrix("", 0, rows, (rows, columns)),))


def name_of(parameter: str, part: str) -> str:
    """What one matrix of a parameter is called."""
    return f"{parameter}[{part}]" if part else parameter


def packed_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of one buffer for several: of equal ones a stack, of others all elements one after another."""
    first, *others = shapes
    if not others:
        return first
    return (len(shapes), *first) if all(shape == first for shape in others) else (sum(map(prod, shapes)),)


def factor_shapes(pipeline: Pipeline, matrices: Matrices | None) -> dict[str, list[tuple[int, ...]]]:
    """The shapes of the values of each buffer that hasn't the parameter's, one for each matrix of it."""
    found: dict[str, list[tuple[int, ...]]] = {}
    for stage, label in zip(pipeline.stages, pipeline.labels):
        for part in () if matrices is None else matrices.parts:
            for name, shape in (stage.buffer_shapes(*part.shape) | dict.fromkeys(stage.scalars(), (1,))).items():
                found.setdefault(state_name(label, name), []).append(shape)
    return found


def unpacked(shapes: Sequence[tuple[int, ...]]) -> list[Callable[[Tensor], Tensor]]:
    """For each of several what finds it in a buffer of their `packed_shape`, where it lies."""
    begins = accumulate(map(prod, shapes), initial=0)
    return [partial(alias, shape=shape, begin=begin) for shape, begin in zip(shapes, begins)]


@lru_cache(maxsize=1024)
def matrices_of(
    stage: str,
    cut: tuple[Any, int],
    shape: tuple[int, ...],
    name: str = "",
    kinds: tuple[str, ...] | None = None,
    takes_vectors: bool = False,
) -> Matrices:
    """How a matrix update takes a parameter.

    Args:
        stage: the update's name.
        cut: its `split`, "" where it has none, and `heads`.
        name: the parameter's, "" if it has none.
        kinds: those of the module that owns it, or None where that is not known.
        takes_vectors: one of fewer than 2 dimensions is a single row.

    Raises:
        ShapeError: for a parameter that can't be taken as one matrix and may be several, or that can't be cut so.

    Example:
        >>> from edsl.step.parts.matrices import matrices_of
        >>> str(matrices_of("muon", (("q", "k", "v"), 1), (12, 4)))
        '3 of 4 × 4: q, k, v'
        >>> str(matrices_of("muon", ((8, 2, 2), 1), (12, 4)))
        '0: 8 × 4, 1: 2 × 4, 2: 2 × 4'
    """
    split, heads = cut
    which, known = parameter_called(name), kinds or ()
    if len(shape) < 2 and takes_vectors:
        return one_matrix(1, prod(shape))
    if len(shape) < 2:
        raise ShapeError(
            f"{stage} takes matrices (2 dimensions or more); {which} has shape {shape}: "
            f"write route(matrix={stage}, other=adamw)"
        )
    is_stack = len(shape) == 3 and KERNEL not in known
    is_stack = is_stack and (split == EXPERTS or (EXPERTS in known and split not in ("", "none")))
    if not (is_stack or split == "none" or len(shape) in _ONE or KERNEL in known):
        raise ShapeError(_choices(stage, split, shape, name, kinds))
    is_stack = is_stack and shape[0] > 0
    rows, columns = shape[1:] if is_stack else (shape[0], prod(shape[1:]))
    by_columns = TRANSPOSED in known and len(shape) == 2
    length, what = (columns, "columns") if by_columns else (rows, "rows")
    guessed = _QKV if FUSED in known and split in ("auto", EXPERTS) and length % 3 == 0 else ()
    named = _ranges(stage, split if isinstance(split, tuple) else guessed, length, f"{which} has {length} {what}")
    ranges = [*_heads(stage, heads, named, f"{which} has {length} {what}")]
    if len(ranges) == 1 and not is_stack:
        return one_matrix(rows, columns)
    if by_columns:
        return Matrices(rows, columns, 1, _side_by_side(ranges, lambda size: (rows, size)))
    if is_stack:
        ranges = [(f"{number}.{own}".rstrip("."), size) for number in range(shape[0]) for own, size in ranges]
    return Matrices(1, sum(size for _, size in ranges), columns, _side_by_side(ranges, lambda size: (size, columns)))


Range = tuple[str, int]  # a name, and how many rows or columns


def _side_by_side(ranges: Sequence[Range], shape: Callable[[int], tuple[int, int]]) -> tuple[Matrix, ...]:
    ends = list(accumulate((size for _, size in ranges), initial=0))
    return tuple(Matrix(name, begin, begin + size, shape(size)) for (name, size), begin in zip(ranges, ends))


def _ranges(stage: str, split: tuple[Any, ...], length: int, has: str) -> list[Range]:
    """The parts that `split` makes."""
    if not split:
        return [("", length)]
    if isinstance(split[0], int):
        if sum(split) != length:
            raise ShapeError(f"{stage}: split={split} adds up to {sum(split)}; {has}")
        return [(str(place), size) for place, size in enumerate(split)]
    if length % len(split):
        raise ShapeError(
            f"{stage}: split={split} cuts {len(split)} equal parts; {has}, which {len(split)} does not divide: "
            "give the size of each part, as in split=(768, 256, 256)"
        )
    return [(name, length // len(split)) for name in split]


def _heads(stage: str, heads: int, parts: Sequence[Range], has: str) -> Iterator[Range]:
    """The parts in blocks of the size that heads have in the first of them."""
    if heads == 1:
        yield from parts
        return
    size = parts[0][1] // heads
    for name, length in parts:
        if parts[0][1] % heads or length % max(1, size):
            part = f", {length} of them in part {name}" if len(parts) > 1 else ""
            why = f"{heads} does not divide" if parts[0][1] % heads else f"can't be cut in blocks of {size}"
            raise ShapeError(f"{stage}: heads={heads} cuts equal blocks; {has}{part}, which {why}")
        yield from ((f"{name}.{number}".lstrip("."), size) for number in range(length // size if size else heads))


def _choices(stage: str, split: Any, shape: tuple[int, ...], name: str, kinds: Collection[str] | None) -> str:
    """What to do about a parameter that may be one matrix or several."""
    which = parameter_called(name)
    pattern = re.sub(r"(?<![^.])\d+(?![^.])", "*", name) or "experts.*"
    known = (
        ""
        if kinds is not None
        else "; pass the module to have kernels and experts recognised: edsl.compile(spec, model)"
    )
    choice = f"route(({pattern!r}, adamw), matrix={stage}, other=adamw)"
    if split == "" or len(shape) != 3:
        return (
            f"{stage} takes matrices and convolution kernels; {which} has shape {shape} and would be "
            f"treated as one matrix of {shape[0]} × {prod(shape[1:])}, even if it is a stack of experts: route it to "
            f"another update, {choice}, or make each matrix its own parameter{known}"
        )
    return (
        f"{stage} takes matrices and convolution kernels; {which} has shape {shape}: write "
        f"{stage}(split='experts') for {shape[0]} matrices of {shape[1]} × {shape[2]}, {stage}(split='none') for one "
        f"of {shape[0]} × {prod(shape[1:])}, or route it to another update, {choice}{known}"
    )
