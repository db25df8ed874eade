"""Floating point in 8 bits, as torch's dtypes of the same names have it: a sign, an exponent, a mantissa.

e4m3fn: 17 binades down to 2⁻¹⁷ of the block's scale, neighbours 6 to 12 % apart
e5m2: 31 binades, neighbours 12 to 25 % apart
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edsl.numerics.formats.format import StateFormat


@dataclass(frozen=True)
class Float8(StateFormat):
    """A sign bit, exponent bits and mantissa bits.

    Attributes:
        mantissa: the bits of the mantissa.
        bias: of the exponent.
        top: y = 1 is kept as 2^top.
    """

    mantissa: int
    bias: int
    top: int

    @property
    def _shift(self) -> int:
        """By how much a code is shifted to have its bits where those of a float32 are."""
        return 23 - self.mantissa

    @property
    def _quantum(self) -> float:
        """The distance of neighbours below the least normal number, as y."""
        return 2.0 ** (1 - self.bias - self.mantissa - self.top)

    @property
    def _offset(self) -> int:
        """What is added to a float32's exponent for y to become a code's."""
        return self.bias + self.top - 127

    def value(self, code: Tensor, is_unsigned: Tensor) -> Tensor:
        size = code & 0x7F
        normal = ((size << self._shift) - (self._offset << 23)).view(torch.float32)
        y = torch.where(size >> self.mantissa > 0, normal, size.to(torch.float32) * self._quantum)
        return torch.where(code > 0x7F, -y, y)

    def code(self, y: Tensor, words: Tensor, is_unsigned: Tensor) -> Tensor:
        size, u = y.abs().clamp(max=1.0).nan_to_num(0.0), ((words >> 9).to(torch.float32) + 0.5) * 2.0**-23
        binade = (size.view(torch.int32) & 0x7F800000).view(torch.float32)
        quantum = (binade * 2.0**-self.mantissa).clamp(min=self._quantum)
        q = (size / quantum).floor()
        rounded = (q + (size / quantum - q > u)) * quantum
        rounded = torch.where(is_unsigned & (size > 0), rounded.clamp(min=self._quantum), rounded)
        normal = (rounded.view(torch.int32) + (self._offset << 23)) >> self._shift
        found = (rounded / self._quantum).clamp(max=1 << self.mantissa).to(torch.int32)
        found = torch.where(found >> self.mantissa > 0, normal, found)
        return torch.where(y.signbit(), found | 0x80, found)

    @property
    def tops(self) -> tuple[float, float]:
        return 1.0, 1.0

    @property
    def cxx(self) -> str:
        return f"""\
template <class T> struct reader_{self.name} {{
  T scale;
  explicit reader_{self.name}(block_scale<T> block) : scale(block.scale) {{}}
  inline T of(int32_t c) const {{
    const int32_t size = c & 0x7f, bits = (size << {self._shift}) - ({self._offset} * (1 << 23));
    float y; std::memcpy(&y, &bits, 4);
    y = size >> {self.mantissa} > 0 ? y : float(size) * {self._quantum!r}f;
    return T(turned(y, c << 24 & INT32_MIN)) * scale;
  }}
}};
template <bool is_unsigned> struct format_{self.name} {{
  static constexpr float normal = {2.0 ** (1 - self.bias - self.top)!r}f;  // below it neighbours are equally far apart
  template <class T> static inline int32_t code(T x, T inverse, uint32_t word) {{
    float size = size_above(0.0f, x, inverse); size = size < 1 ? size : 1;
    int32_t bits; std::memcpy(&bits, &size, 4);
    const int32_t noise = int32_t(~word >> {9 + self.mantissa}), offset = {self._offset} * {1 << self.mantissa};
    const int32_t high = ((bits + noise) >> {self._shift}) + offset;
    const float scaled = (size < normal ? size : 0.0f) * {1 / self._quantum!r}f;
    const int32_t q = int32_t(scaled);
    const float u = (float(int32_t(word >> 9)) + 0.5f) * 0x1p-23f;
    const int32_t low = q + int32_t(scaled - float(q) > u);
    const int32_t below = -int32_t(size < normal), c = (low & below) | (high & ~below);  // a branch isn't vectorized
    return is_unsigned ? positive_code(c, x) : c | (sign_of(x) & 0x80);
  }}
}};
"""

    @property
    def triton(self) -> str:
        return f'''\
@triton.jit
def value_{self.name}(code, is_unsigned):
    """y of codes."""
    size = code & 0x7F
    normal = ((size << {self._shift}) - {self._offset << 23}).to(tl.float32, bitcast=True)
    y = tl.where(size >> {self.mantissa} > 0, normal, size.to(tl.float32) * {self._quantum!r})
    return tl.where(code > 0x7F, -y, y)


@triton.jit
def code_{self.name}(y, word, is_unsigned):
    """The codes of y, rounded up or down by 32 random bits."""
    size, u = tl.minimum(tl.abs(y), 1.0), ((word >> 9).to(tl.float32) + 0.5) * {2.0**-23!r}
    binade = (size.to(tl.int32, bitcast=True) & 0x7F800000).to(tl.float32, bitcast=True)
    quantum = tl.maximum(binade * {2.0**-self.mantissa!r}, {self._quantum!r})
    scaled = tl.div_rn(size, quantum)
    q = tl.floor(scaled)
    rounded = tl.where(scaled - q > u, q + 1, q) * quantum
    rounded = tl.where(is_unsigned & (size > 0), tl.maximum(rounded, {self._quantum!r}), rounded)
    normal = (rounded.to(tl.int32, bitcast=True) + {self._offset << 23}) >> {self._shift}
    few = tl.minimum(rounded * {1 / self._quantum!r}, {float(1 << self.mantissa)!r}).to(tl.int32)
    found = tl.where(few >> {self.mantissa} > 0, normal, few)
    return tl.where(y.to(tl.int32, bitcast=True) < 0, found | 0x80, found)
'''
