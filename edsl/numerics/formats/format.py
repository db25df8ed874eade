"""A format of coded elements: what its codes mean within a block, in torch, C++ and Triton.

A block of elements x is *unsigned* where no x has a sign, and has a scale 2^e, the least power of two with which all
y = x / 2^e are values of codes, or between two. Its codes c stand for y:

    x = 2^e · value(c)        c = one of the two codes around y, at random, so that E[value(c)] = y

Powers of two, and a rounding that leaves each value(c) as it is, keep an average's codes where they are until a step
moves it: rounding adds to an average m of decay β at most the variance E[q |x − m|] / (1 + β), with neighbours q apart
and x averaged. That is little beside an average that has a mean, and much beside that of zero-mean x,
whose own variance is (1 − β) / (1 + β) of theirs. In an unsigned block a positive x
never becomes 0, so that a second moment that was divided by stays one. An element that is not finite makes its block
NaN; sizes above 2^126, or in float64 2^1022, are kept as the largest below.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from edsl.numerics.formats.form import BufferForm
from edsl.numerics.formats.layout import BLOCK, RowLayout, width_of
from edsl.numerics.formats.packed import PACKED_BFLOAT16
from edsl.numerics.stochastic_rounding import words as noise
from edsl.numerics.structures import ELEMENTS, ENTRIES, MATRIX, SYMMETRIC, TRIANGULAR

NOT_FINITE = 16383  # the exponent of a block with an element that is not finite
LEAST = 2.0**-126  # y of a positive element that would underflow


@dataclass(frozen=True)
class StateFormat(BufferForm):
    """A format in which state of single values may be kept; a new one is a subclass, and a row of `FORMATS`.

    Attributes:
        bits: of a code, 8 or 4.
    """

    bits: int

    @property
    def itemsize(self) -> float:
        """The bytes of a code; of rows, headers included, `shape` tells them."""
        return self.bits / 8

    @property
    @abstractmethod
    def cxx(self) -> str:
        """The text of two C++ templates, both free of branches, so that they are vectorized.

        `reader_NAME<T>` is made of a `block_scale<T>`, and its `of(c)` is the element of a code; of
        `format_NAME<is_unsigned>` the static `code(x, 2^−e, word)` is the code of an element.
        """

    @property
    @abstractmethod
    def triton(self) -> str:
        """The text of Triton functions `value_NAME(c, is_unsigned)` and `code_NAME(y, word, is_unsigned)` of blocks."""

    @property
    @abstractmethod
    def tops(self) -> tuple[float, float]:
        """The largest |y| in an unsigned block, and in a signed one."""

    @abstractmethod
    def value(self, code: Tensor, is_unsigned: Tensor) -> Tensor:
        """y of codes in 0 … 2^bits − 1, as float32."""

    @abstractmethod
    def code(self, y: Tensor, words: Tensor, is_unsigned: Tensor) -> Tensor:
        """The codes of y, rounded up or down by 32 random bits each."""

    @property
    def dtype(self) -> torch.dtype:
        return torch.uint8

    def kept_for(self, structure: str) -> BufferForm | torch.dtype | None:
        if structure in (SYMMETRIC, TRIANGULAR):
            return PACKED_BFLOAT16.kept_for(structure)
        return {ELEMENTS: self, ENTRIES: self, MATRIX: torch.bfloat16}.get(structure)

    def opened(self, buffer: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        if buffer.dtype is not torch.uint8:
            return buffer.to(dtype)
        return self.unpacked(buffer, torch.Size(shape).numel(), dtype).view(tuple(shape))

    def closed(self, values: Tensor, buffer: Tensor, key: Tensor | None, place: int) -> Tensor:
        if buffer.dtype is not torch.uint8:
            return values
        flat = values.reshape(-1)
        if key is None:
            words = torch.full(flat.shape, 1 << 31, dtype=torch.int64, device=flat.device)
        else:
            words = noise(flat.shape, key, place)
        return self.packed(flat, buffer.shape[0], words)

    def layout(self, width: int) -> RowLayout:
        """How a row of so many elements lies."""
        return RowLayout(width, self.bits)

    def shape(self, shape: Sequence[int]) -> tuple[int, int]:
        """The shape, in bytes, of what a tensor of a shape is kept in."""
        width = width_of(shape)
        rows = torch.Size(shape).numel() // width if width else 0
        return rows, self.layout(width).bytes

    def unpacked(self, packed: Tensor, count: int, dtype: torch.dtype) -> Tensor:
        """All elements, one after another.

        Args:
            packed: (rows, bytes of a row).
            count: how many elements there are.
        """
        rows = packed.shape[0]
        if count == 0:
            return torch.zeros(0, dtype=dtype, device=packed.device)
        width = count // rows
        own = self.layout(width)
        codes = self._codes(packed[:, : own.code_bytes])[:, :width].to(torch.int32)
        header = packed[:, own.code_bytes : own.code_bytes + 2 * own.blocks].to(torch.int32).view(rows, own.blocks, 2)
        header = header[..., 0] + (header[..., 1] << 8)
        header = torch.where(header >= 1 << 15, header - (1 << 16), header)
        exponent, is_unsigned = header >> 1, (header & 1).bool()
        y = self.value(_in_blocks(codes, own.blocks), is_unsigned.unsqueeze(-1)).to(dtype)
        scale = torch.where(exponent == NOT_FINITE, torch.nan, _power_of_two(exponent, dtype))
        return (y * scale.unsqueeze(-1)).view(rows, -1)[:, :width].reshape(-1)

    def packed(self, x: Tensor, rows: int, words: Tensor) -> Tensor:
        """Elements as codes.

        Args:
            x, words: all elements one after another, and 32 random bits for each, as int64.
        """
        width = x.numel() // max(1, rows)
        own = self.layout(width)
        if x.numel() == 0:
            return torch.zeros((rows, own.bytes), dtype=torch.uint8, device=x.device)
        blocks = _in_blocks(x.reshape(rows, width), own.blocks)
        largest = blocks.abs().amax(-1)  # NaN where one is
        is_unsigned = ~blocks.signbit().any(-1)
        unsigned, signed = (1 / top for top in self.tops)
        exponent = _exponent(largest * torch.where(is_unsigned, unsigned, signed).to(x.dtype))
        y = (blocks * _power_of_two(-exponent, x.dtype).unsqueeze(-1)).to(torch.float32)
        y = torch.where((y == 0) & (blocks > 0), LEAST, y)
        words = _in_blocks(words.reshape(rows, width), own.blocks)
        codes = self.code(y, words, is_unsigned.unsqueeze(-1)).view(rows, -1)[:, :width]
        exponent = torch.where(largest.isfinite(), exponent, NOT_FINITE)
        header = ((exponent << 1) + is_unsigned) & 0xFFFF
        header = torch.stack([header & 0xFF, header >> 8], -1).view(rows, -1).to(torch.uint8)
        codes = self._bytes(pad(codes.to(torch.uint8), (0, own.code_bytes * 8 // self.bits - width)))
        return torch.cat([codes, pad(header, (0, own.bytes - own.code_bytes - header.shape[1]))], 1)

    def _codes(self, found: Tensor) -> Tensor:
        """One code an element, of bytes."""
        if self.bits == 8:
            return found
        return torch.stack([found & 15, found >> 4], -1).flatten(1)

    def _bytes(self, codes: Tensor) -> Tensor:
        if self.bits == 8:
            return codes
        pairs = codes.view(codes.shape[0], -1, 2)
        return pairs[..., 0] | (pairs[..., 1] << 4)


def _in_blocks(x: Tensor, blocks: int) -> Tensor:
    """Rows as (rows, blocks, 256), of which the last is filled up with zeros."""
    rows, width = x.shape
    return pad(x, (0, blocks * BLOCK - width)).view(rows, blocks, BLOCK)


def _power_of_two(exponent: Tensor, dtype: torch.dtype) -> Tensor:
    """2^e, where it is a normal number."""
    if dtype == torch.float64:
        return ((exponent.to(torch.int64) + 1023).clamp(1, 2046) << 52).view(torch.float64)
    return ((exponent + 127).clamp(1, 254) << 23).view(torch.float32)


def _exponent(largest: Tensor) -> Tensor:
    """The least e with largest ≤ 2^e, as far as 2^e and 2^−e are normal numbers; 0 for 0."""
    if largest.dtype == torch.float64:
        bits = largest.view(torch.int64)
        found = (((bits + ((1 << 52) - 1)) >> 52) - 1023).clamp(-1022, 1022).to(torch.int32)
    else:
        bits = largest.view(torch.int32)
        found = (((bits + ((1 << 23) - 1)) >> 23) - 127).clamp(-126, 126)
    return torch.where((largest > 0) & largest.isfinite(), found, 0)
