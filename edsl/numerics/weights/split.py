"""Weights in bfloat16 with the low half of their float32 beside: exact float32 arithmetic at 4 bytes in all.

Kalamkar et al. 2020 (arXiv 2005.04680) step so, "Split-SGD-BF16", with the high half cut off instead of rounded.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edsl.numerics.weights.form import WeightForm


class Split(WeightForm):
    """bits(x) = 2¹⁶ bits(θ) + low: θ the nearest bfloat16, ties away from 0, and low in −2¹⁵ … 2¹⁵ − 1.

    x is exactly what float32 weights would be, overflow and signed zeros among them. To a θ that somebody has set
    since, low adds less than its last bit; where that would lead beyond 0 or infinity, it counts as 0.
    """

    name = "split"
    buffer = "weights.low"
    dtypes = (torch.bfloat16,)

    def rest_dtype(self, dtype: torch.dtype) -> torch.dtype:
        return torch.int16

    def join(self, theta: Tensor, rest: Tensor | None) -> Tensor:
        assert rest is not None  # it keeps one
        bits = theta.float().view(torch.int32)
        size, low = bits & 0x7FFFFFFF, rest.to(torch.int32)
        alone = ((size == 0) & (low < 0)) | ((size >= 0x7F800000) & (low > 0))
        return (bits + torch.where(alone, 0, low)).view(torch.float32)

    def cut(self, x: Tensor, dtype: torch.dtype, key: Tensor | None) -> tuple[Tensor, Tensor | None]:
        bits = x.float().view(torch.int32)
        high = (bits + 0x8000) & -0x10000
        low = torch.where(x.isnan(), 0, bits - high)
        theta = torch.where(x.isnan(), x, high.view(torch.float32))
        return theta.to(dtype), low.to(torch.int16)

    def cpp(self, dtype: torch.dtype) -> str:
        return """\
static inline float joined(float theta, float rest) {
  uint32_t bits; std::memcpy(&bits, &theta, 4);
  const uint32_t size = bits & 0x7fffffffu;
  const int32_t low = int32_t(rest);
  bits += (size == 0u && low < 0) || (size >= 0x7f800000u && low > 0) ? 0u : uint32_t(low);
  float x; std::memcpy(&x, &bits, 4); return x;
}
static inline float rest_of(float x) {
  uint32_t bits; std::memcpy(&bits, &x, 4);
  return x == x ? float(int32_t(bits - ((bits + 0x8000u) & 0xffff0000u))) : 0.0f;
}
static inline void put_weight(bfloat16& to, float x, uint32_t) {
  uint32_t bits; std::memcpy(&bits, &x, 4);
  to.bits = uint16_t(x == x ? (bits + 0x8000u) >> 16 : 0x7fc0u);
}
static inline void put_rest(int16_t& to, float x, uint32_t) { to = int16_t(x); }
"""

    def triton(self, dtype: torch.dtype) -> str:
        return """\
@triton.jit
def joined(theta, rest):
    bits = theta.to(tl.int32, bitcast=True)
    size = bits & 0x7FFFFFFF
    low = rest.to(tl.int32)
    alone = ((size == 0) & (low < 0)) | ((size >= 0x7F800000) & (low > 0))
    return (bits + tl.where(alone, 0, low)).to(tl.float32, bitcast=True)


@triton.jit
def rest_of(x):
    bits = x.to(tl.int32, bitcast=True)
    low = bits - ((bits + 0x8000) & -0x10000)
    return tl.where(x == x, low, 0).to(tl.float32)


@triton.jit
def weight_of(x, word):
    return cut(x, 0x8000)


@triton.jit
def stored_rest(x, word):
    return x.to(tl.int16)
"""
