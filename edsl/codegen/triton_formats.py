"""Codes of state in Triton: a program reads a block of them as numbers, and writes it as codes again.

What `edsl.numerics.formats.format` does to a tensor, these functions do to one block, with the same results.
"""

from __future__ import annotations

from collections.abc import Iterable

from edsl.numerics.formats.format import LEAST, NOT_FINITE, StateFormat
from edsl.numerics.formats.layout import BLOCK, HEADER
from edsl.numerics.stochastic_rounding import odd_of

CODES = f'''\
@triton.jit
def power_of_two(e, like):
    """2^e in the dtype of a value."""
    if like.dtype == tl.float64:
        return ((e.to(tl.int64) + 1023) << 52).to(tl.float64, bitcast=True)
    return ((e + 127) << 23).to(tl.float32, bitcast=True)


@triton.jit
def exponent_of(largest):
    """The least e with largest ≤ 2^e, as far as 2^e and 2^−e are normal numbers."""
    if largest.dtype == tl.float64:
        e = ((largest.to(tl.int64, bitcast=True) + 0xFFFFFFFFFFFFF) >> 52) - 1023
        e = tl.minimum(tl.maximum(e, -1022), 1022).to(tl.int32)
    else:
        e = ((largest.to(tl.int32, bitcast=True) + 0x7FFFFF) >> 23) - 127
        e = tl.minimum(tl.maximum(e, -126), 126)
    return tl.where(largest == 0, 0, e)


@triton.jit
def codes_at(row, PLACE: tl.constexpr, width, line, within, BITS: tl.constexpr):
    """Where the codes of a block begin, and where its header lies."""
    codes = (width * BITS + 31) // 32 * 4
    headers = ((width + {BLOCK - 1}) // {BLOCK} + 1) // 2 * 4
    begin = tl.load(row + PLACE).to(tl.pointer_type(tl.uint8)) + line * (codes + headers)
    return begin + within * ({BLOCK} * BITS // 8), begin + codes + {HEADER} * within


@triton.jit
def header_of(pointer):
    """A block's exponent, and whether it is unsigned."""
    h = tl.load(pointer).to(tl.int32) | (tl.load(pointer + 1).to(tl.int32) << 8)
    h = tl.where(h >= 32768, h - 65536, h)
    return h >> 1, (h & 1) != 0


@triton.jit
def codes_of(pointer, lane, mask, BITS: tl.constexpr):
    """The codes of a block."""
    if BITS == 8:
        return tl.load(pointer + lane, mask=mask).to(tl.int32)
    found = tl.load(pointer + lane // 2, mask=mask).to(tl.int32)
    return (found >> ((lane & 1) * 4)) & 15


@triton.jit
def put_codes(pointer, codes, lane, left, BITS: tl.constexpr):
    """Write the codes of a block."""
    if BITS == 8:
        tl.store(pointer + lane, codes.to(tl.uint8), mask=lane < left)
    else:
        low, high = tl.split(tl.reshape(tl.where(lane < left, codes, 0), ({BLOCK // 2}, 2)))
        pair = tl.arange(0, {BLOCK // 2})
        tl.store(pointer + pair, (low | (high << 4)).to(tl.uint8), mask=2 * pair < left)


@triton.jit
def scale_of(x, mask, unsigned, signed):
    """The exponent of a block, whether it is unsigned, whether it is finite, and 2^−e."""
    size = tl.abs(x)
    if mask is not None:
        size = tl.where(mask, size, 0.0)
    largest = tl.max(size)
    if x.dtype == tl.float64:
        signs = x.to(tl.int64, bitcast=True) < 0
    else:
        signs = x.to(tl.int32, bitcast=True) < 0
    if mask is not None:
        signs = signs & mask
    is_unsigned = tl.max(signs.to(tl.int32)) == 0
    is_finite = tl.min(((size - size) == 0).to(tl.int32)) == 1
    top = tl.where(is_unsigned, unsigned, signed).to(x.dtype)
    e = exponent_of(tl.where(is_finite, largest * top, 0.0).to(x.dtype))
    return e, is_unsigned, is_finite, power_of_two(-e, x)


@triton.jit
def put_header(pointer, e, is_unsigned, is_finite):
    """Write a block's header."""
    h = (tl.where(is_finite, e, {NOT_FINITE}) << 1) + is_unsigned.to(tl.int32)
    tl.store(pointer, (h & 255).to(tl.uint8))
    tl.store(pointer + 1, ((h >> 8) & 255).to(tl.uint8))
'''


def prelude(formats: Iterable[StateFormat]) -> list[str]:
    """The functions that some formats need."""
    found = list(dict.fromkeys(formats))
    return [CODES, *(form.triton for form in found)] if found else []


def place_in_row(width: int) -> list[str]:
    """Lines that say which block of which row of codes a program has; `width` is that column's number."""
    return [
        f"width = tl.load(row + {width})",
        "line = begin // width",
        f"within = (begin - line * width) // {BLOCK}",
    ]


def bounds(own: str, width: str) -> list[str]:
    """Lines that say where a program's block begins and how many elements are left of its row; `own` is its number."""
    return [
        f"own = {own}",
        f"width = {width}",
        f"across = (width + {BLOCK - 1}) // {BLOCK}",
        f"begin = own // across * width + own % across * {BLOCK}",
        f"left = width - own % across * {BLOCK}",
    ]


def found_at(i: int, form: StateFormat, column: int) -> str:
    """The line that says where a block of a buffer lies."""
    return f"codes{i}, header{i} = codes_at(row, {column}, width, line, within, {form.bits})"


def read(i: int, form: StateFormat, name: str, work: str) -> list[str]:
    """Lines that read a block of a buffer."""
    return [
        f"e_{name}, unsigned_{name} = header_of(header{i})",
        f"{name} = value_{form.name}(codes_of(codes{i}, lane, mask, {form.bits}), unsigned_{name}).to({work})",
        f'{name} = {name} * tl.where(e_{name} == {NOT_FINITE}, float("nan"), power_of_two(tl.where(e_{name} == '
        f"{NOT_FINITE}, 0, e_{name}), {name})).to({work})",
    ]


def write(i: int, form: StateFormat, place: int, value: str, key: str) -> list[str]:
    """Lines that write a block of a buffer; `place` is the buffer's number in the segment."""
    unsigned, signed = (1 / top for top in form.tops)
    return [
        f"e{i}_, unsigned{i}_, finite{i}_, inverse{i}_ = scale_of({value}, mask, {unsigned!r}, {signed!r})",
        f"words{i}_ = word_of(begin, lane, {key}, {odd_of(place)})",
        f"y{i}_ = ({value} * inverse{i}_).to(tl.float32)",
        f"y{i}_ = tl.where((y{i}_ == 0) & ({value} > 0), {LEAST!r}, y{i}_)",
        f"new{i}_ = code_{form.name}(y{i}_, words{i}_, unsigned{i}_)",
        f"put_codes(codes{i}, new{i}_, lane, left, {form.bits})",
        f"put_header(header{i}, e{i}_, unsigned{i}_, finite{i}_)",
    ]
