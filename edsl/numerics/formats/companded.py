"""Integers companded by the segmented µ-law of ITU-T G.711: neighbours far apart for large elements, close for small.

    |y| = v(c) − v(0),    v(c) = 2^(c / 2^M − R), between powers of two on a straight line

So v(c) is a float with M bits of mantissa, and 0 is exact. In 8 bits M = 4: neighbours are 3 to 6 % apart; the least
is 2⁻²⁰ of the largest, of a signed block 2⁻¹², as its sign takes a bit. (M = 3 would reach down to 2⁻¹⁹ there, and
leave twice the noise in an average.) In 4 bits M = 1: a third to a half, down to 2⁻⁹, and of a signed block 2⁻⁵.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from edsl.numerics.formats.format import StateFormat


class Segments(NamedTuple):
    """One µ-law.

    Attributes:
        mantissa: M.
        range: R, so that v(0) = 2⁻ᴿ.
        most: the largest c.
    """

    mantissa: int
    range: int
    most: int

    @property
    def shift(self) -> int:
        """By how much c is shifted to stand where a float32 has its bits."""
        return 23 - self.mantissa

    @property
    def first(self) -> int:
        """What is added to c for that."""
        return (127 - self.range) << self.mantissa

    @property
    def zero(self) -> float:
        """v(0)."""
        return 2.0**-self.range

    @property
    def top(self) -> float:
        """The largest |y|."""
        octaves, rest = divmod(self.most, 1 << self.mantissa)
        return (1 + rest / (1 << self.mantissa)) * 2.0 ** (octaves - self.range) - self.zero


@dataclass(frozen=True)
class Companded(StateFormat):
    """Integers by µ-law; of a signed block the first bit is the sign.

    Attributes:
        unsigned, signed: the laws of the two kinds of blocks.
    """

    unsigned: Segments
    signed: Segments

    @property
    def tops(self) -> tuple[float, float]:
        return self.unsigned.top, self.signed.top

    @property
    def _sign(self) -> int:
        return 1 << (self.bits - 1)

    def value(self, code: Tensor, is_unsigned: Tensor) -> Tensor:
        size = torch.where(is_unsigned, code, code & (self._sign - 1))
        y = torch.where(is_unsigned, _expanded(size, self.unsigned), _expanded(size, self.signed))
        return torch.where(~is_unsigned & (code >= self._sign), -y, y)

    def code(self, y: Tensor, words: Tensor, is_unsigned: Tensor) -> Tensor:
        positive = _compressed(y, words, self.unsigned)
        positive = torch.where(y > 0, positive.clamp(min=1), positive)
        size = _compressed(y.abs(), words, self.signed)
        return torch.where(is_unsigned, positive, torch.where(y.signbit(), size | self._sign, size))

    @property
    def cxx(self) -> str:
        def either(name: str) -> str:
            return f"(is_unsigned ? {getattr(self.unsigned, name)!r} : {getattr(self.signed, name)!r})"

        # A float32's bits with a code's among them: 2.0 leaves room for an unsigned code, and what signed ones begin
        # with has the bit set where theirs for the sign would stand.
        fewer = 1 << (self.bits - 1 - self.signed.mantissa)
        return f"""\
template <class T> struct reader_{self.name} {{
  T scale, zero; int32_t shift, base, sign;
  explicit reader_{self.name}(block_scale<T> block) {{
    const bool is_unsigned = block.is_unsigned;
    zero = block.scale * T{either("zero")}, scale = zero * T(is_unsigned ? 0.5 : {2.0 ** (fewer - 1)!r});
    shift = {either("shift")}, base = (is_unsigned ? 128 : {128 - fewer}) << 23;
    sign = is_unsigned || zero != zero ? 0 : INT32_MIN;
  }}
  inline T of(int32_t c) const {{
    const int32_t bits = c << shift | base;
    float v; std::memcpy(&v, &bits, 4);
    return turned(scaled_less(T(v), scale, zero), c << {32 - self.bits} & sign);
  }}
}};
template <bool is_unsigned> struct format_{self.name} {{
  static constexpr int shift = {either("shift")}, first = {either("first")}, most = {either("most")};
  static constexpr float zero = {either("zero")};
  template <class T> static inline int32_t code(T x, T inverse, uint32_t word) {{
    const float size = size_above(zero, x, inverse);
    int32_t bits; std::memcpy(&bits, &size, 4);
    int32_t c = ((bits + int32_t(word >> (32 - shift))) >> shift) - first;
    c = c < most ? c : most;
    return is_unsigned ? positive_code(c, x) : c | (sign_of(x) & {self._sign});
  }}
}};
"""

    @property
    def triton(self) -> str:
        def either(name: str) -> str:
            return f"tl.where(is_unsigned, {getattr(self.unsigned, name)!r}, {getattr(self.signed, name)!r})"

        return f'''\
@triton.jit
def value_{self.name}(code, is_unsigned):
    """y of codes."""
    size = tl.where(is_unsigned, code, code & {self._sign - 1})
    bits = (size + {either("first")}) << {either("shift")}
    y = bits.to(tl.int32).to(tl.float32, bitcast=True) - {either("zero")}.to(tl.float32)
    return tl.where((code >= {self._sign}) & (is_unsigned == 0), -y, y)


@triton.jit
def code_{self.name}(y, word, is_unsigned):
    """The codes of y, rounded up or down by 32 random bits."""
    shift = {either("shift")}
    bits = (tl.abs(y) + {either("zero")}.to(tl.float32)).to(tl.int32, bitcast=True)
    c = ((bits + (word >> (32 - shift)).to(tl.int32)) >> shift) - {either("first")}
    c = tl.minimum(c, {either("most")})
    c = tl.where(is_unsigned & (y > 0) & (c < 1), 1, c)
    return tl.where((is_unsigned == 0) & (y.to(tl.int32, bitcast=True) < 0), c | {self._sign}, c)
'''


def _expanded(c: Tensor, law: Segments) -> Tensor:
    """v(c) − v(0)."""
    return ((c + law.first) << law.shift).view(torch.float32) - law.zero


def _compressed(size: Tensor, words: Tensor, law: Segments) -> Tensor:
    """One of the two c around."""
    bits = (size + law.zero).view(torch.int32) + (words >> (32 - law.shift)).to(torch.int32)
    return ((bits >> law.shift) - law.first).clamp(max=law.most)
