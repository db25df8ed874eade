"""Stochastic rounding to half precision, with noise that depends on parameter, step and element alone.

To the nearest, an EMA of decay β stops where a step changes it by less than half of its last bit: with
bfloat16's 8 bits of precision at about β > 0.99. Rounded up or down with the probabilities that
make it right on average, it goes on.

    h = hash(i, parameter, k),   word = h · odd(buffer) mod 2³²,   x → bits(x) + ⌊word / 2¹⁶⌋, the last 16 cut off

One hash serves all buffers of an element. It has one multiplication, which is enough here: sums of rounding errors
over a tensor vary as those of independent noise do (tests/edsl/test_rounding.py).

float16 has fewer exponents: with s the distance of its numbers at x, |x|/s = n + f goes to n + 1 with probability f,
in steps of 2⁻²⁴.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

WORD = 0xFFFFFFFF
SPREAD, MIX, STEP = 0x1E3779B1, 0x7FEB352D, 0x2545F491  # odd, below 2³¹

# The same as `words` and `rounded` below, word for word; `put` with the bits is its last line.
CXX = f"""\
static inline uint32_t word_at(uint32_t spread, uint32_t key) {{
  uint32_t h = spread ^ key;
  h ^= h >> 15; h *= {MIX:#x}u; h ^= h >> 16;
  return h;
}}
static inline void put_rounded(bfloat16& to, float x, uint32_t word) {{
  uint32_t bits; std::memcpy(&bits, &x, 4);
  to.bits = uint16_t(x == x ? (bits + (word >> 16)) >> 16 : 0x7fc0u);
}}
static inline void put_rounded(bfloat16& to, double x, uint32_t word) {{ put_rounded(to, float(x), word); }}
"""

# The same as `rounded_within` below; of bfloat16, NaN that arithmetic made is one in its first half already.
CXX_WITHIN = """\
static inline void put_within(bfloat16& to, float x, uint32_t word) {
  uint32_t bits; std::memcpy(&bits, &x, 4);
  const bool fits = (bits & 0x7fffffffu) < 0x7f7f0000u;
  to.bits = uint16_t((bits + (fits ? word >> 16 : 0u)) >> 16);
}
"""
CXX_WITHIN_FLOAT16 = """\
static inline void put_within(float16& to, float x, uint32_t word) {
  uint32_t bits; std::memcpy(&bits, &x, 4);
  const uint32_t size = bits & 0x7fffffffu;
  const bool fits = size < 0x477ff000u;  // 65520, from which on the nearest is infinity
  const float wide = std::fabs(x), within = fits ? wide : 0.0f;
  const uint32_t exponent = fits && (size >> 23) > 113u ? size >> 23 : 113u;
  const uint32_t step_bits = (exponent - 10u) << 23, inverse_bits = (264u - exponent) << 23;
  float step, inverse; std::memcpy(&step, &step_bits, 4); std::memcpy(&inverse, &inverse_bits, 4);
  const float count = within * inverse, whole = std::floor(count);
  const int32_t up = (int32_t((count - whole) * 16777216.0f) + int32_t(word >> 8)) >> 24;
  const float found = (whole + float(up)) * step;
  to = float16(std::copysign(fits ? (found > 65504.0f ? 65504.0f : found) : wide, x));
}
"""

# The same for a block of elements.
TRITON = f'''\
@triton.jit
def key_of(name, k):
    """32 bits that tell parameters and steps apart."""
    return (name + k.to(tl.int64) * {STEP:#x}).to(tl.uint32)


@triton.jit
def word_of(begin, lane, key, odd: tl.constexpr):
    """32 bits for each element of a block."""
    i = (begin + lane).to(tl.uint32)
    h = (i * {SPREAD:#x}) ^ key
    h = (h ^ (h >> 15)) * {MIX:#x}
    return (h ^ (h >> 16)) * tl.full((), odd, tl.uint32)


@triton.jit
def rounded(x, word):
    """x in bfloat16, rounded up or down at random, right on average."""
    return cut(x, word >> 16)


@triton.jit
def rounded_to_bfloat16(x, word):
    """The same by its words; what is finite stays so."""
    size = x.to(tl.uint32, bitcast=True) & 0x7FFFFFFF
    return cut(x, tl.where(size < 0x7F7F0000, word >> 16, 0))


@triton.jit
def rounded_to_float16(x, word):
    """The same in float16, but for infinity where the nearest is."""
    size = x.to(tl.uint32, bitcast=True) & 0x7FFFFFFF
    fits = size < 0x477FF000
    exponent = tl.where(fits & ((size >> 23) > 113), size >> 23, 113).to(tl.uint32)
    step = ((exponent - 10) << 23).to(tl.float32, bitcast=True)
    count = tl.where(fits, tl.abs(x), 0.0) * ((264 - exponent) << 23).to(tl.float32, bitcast=True)
    whole = tl.floor(count)
    up = (((count - whole) * 16777216.0).to(tl.int32) + (word >> 8).to(tl.int32)) >> 24
    found = (whole + up.to(tl.float32)) * step
    found = tl.where(fits, tl.where(found > 65504.0, 65504.0, found), tl.abs(x))
    return tl.where((x.to(tl.int32, bitcast=True) < 0), -found, found).to(tl.float16)


@triton.jit
def nearest(x):
    """x in bfloat16, to the nearest; a cast does the same on a GPU, but not in Triton's interpreter."""
    return cut(x, 0x7FFF + ((x.to(tl.float32).to(tl.uint32, bitcast=True) >> 16) & 1))


@triton.jit
def cut(x, noise):
    """x in bfloat16, of which the last 16 bits are cut off after some noise was added."""
    single = x.to(tl.float32)
    bits = (single.to(tl.uint32, bitcast=True) + noise) >> 16
    return tl.where(single == single, bits, 0x7FC0).to(tl.uint16).to(tl.bfloat16, bitcast=True)
'''


def key_of(name: str, k: int) -> int:
    """32 bits that tell parameters and steps apart."""
    return (zlib.crc32(name.encode()) + k * STEP) & WORD


def words(shape: Sequence[int], key: Tensor, place: int) -> Tensor:
    """32 bits for each element of a tensor of this shape.

    Args:
        key: from `key_of`, as a scalar tensor, so that it never recompiles; of a stack, one for each of its tensors.
        place: the number of the buffer.
    """
    own = tuple(shape[key.dim() :])
    i = torch.arange(prod(own), device=key.device).view(own)
    key = key.view(*key.shape, *(1 for _ in own))
    h = ((i * SPREAD) & WORD) ^ (key & WORD)
    h = ((h ^ (h >> 15)) * MIX) & WORD
    return ((h ^ (h >> 16)) * odd_of(place)) & WORD


def odd_of(place: int) -> int:
    """By what an element's hash is multiplied for the buffer of this number."""
    return ((place + 1) * 0x9E3779B2 | 1) & WORD


def rounded(x: Tensor, key: Tensor, place: int) -> Tensor:
    """x in bfloat16, rounded up or down at random, right on average; `key` and `place` as in `words`."""
    return _cut(x, words(x.shape, key, place) >> 16)


def rounded_within(x: Tensor, word: Tensor, dtype: torch.dtype) -> Tensor:
    """x in half precision, rounded up or down at random, right on average; infinite only where the nearest is.

    Beyond the largest number, that number stays: in bfloat16 for all that is finite, in float16 up to 65520.

    Args:
        x: in float32.
        word: from `words`.
    """
    if dtype is torch.bfloat16:
        size = x.view(torch.int32) & 0x7FFFFFFF
        return _cut(x, torch.where(size < 0x7F7F0000, word >> 16, 0))
    fits, count, step = _in_steps_of_float16(x)
    whole = count.floor()
    up = (((count - whole) * 2.0**24).to(torch.int64) + (word >> 8)) >> 24
    found = ((whole + up.to(torch.float32)) * step).clamp(max=65504.0)
    return torch.where(fits, found.copysign(x), x).to(torch.float16)


def nearest(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The number of half precision next to x, ties to even, in float32: no compiler takes it for x, as two casts."""
    if dtype is torch.bfloat16:
        bits = x.view(torch.int32)
        return torch.where(x.isnan(), x, ((bits + 0x7FFF + ((bits >> 16) & 1)) & -0x10000).view(torch.float32))
    fits, count, step = _in_steps_of_float16(x)
    return torch.where(fits, count.round() * step, torch.where(x.isnan(), x, float("inf"))).copysign(x)


def _in_steps_of_float16(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Whether x is below what rounds to infinity, and |x| in steps of the numbers of float16 there, with the step."""
    size = x.view(torch.int32) & 0x7FFFFFFF
    fits = size < 0x477FF000  # 65520
    exponent = torch.where(fits, size >> 23, 113).clamp(min=113)
    step, inverse = ((bits << 23).view(torch.float32) for bits in (exponent - 10, 264 - exponent))
    return fits, torch.where(fits, x.abs(), 0.0) * inverse, step


def _cut(x: Tensor, noise: Tensor) -> Tensor:
    """x in bfloat16, of which the last 16 bits are cut off after some noise was added."""
    single = x.to(torch.float32)
    bits = (single.view(torch.int32) + noise.to(torch.int32)) & -0x10000
    return torch.where(single.isnan(), single, bits.view(torch.float32)).to(torch.bfloat16)
