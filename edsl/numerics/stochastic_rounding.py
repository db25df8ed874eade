"""Stochastic rounding of state to bfloat16, with noise that depends on parameter, step and element alone.

To the nearest, an EMA of decay β stops where a step changes it by less than half of its last bit: with
bfloat16's 8 bits of precision at about β > 0.99. Rounded up or down with the probabilities that
make it right on average, it goes on.

    h = hash(i, parameter, buffer, k),   x → bfloat16(bits(x) + (h mod 2¹⁶), the last 16 bits cut off)
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

WORD = 0xFFFFFFFF
SPREAD, MIX, STEP, PLACE = 0x1E3779B1, 0x45D9F3B, 0x2545F491, 0x632BE5AB  # odd, below 2³¹

# The same as `rounded` below, word for word; `put` with the bits is its last line.
CXX = f"""\
static inline uint32_t word_of(uint32_t i, uint32_t key) {{
  uint32_t h = (i * {SPREAD:#x}u) ^ key;
  h ^= h >> 16; h *= {MIX:#x}u; h ^= h >> 16; h *= {MIX:#x}u;
  return h ^ (h >> 16);
}}
static inline uint32_t noise_of(uint32_t i, uint32_t key) {{ return word_of(i, key) & 0xffffu; }}
static inline void put_rounded(bfloat16& to, float x, uint32_t noise) {{
  uint32_t bits; std::memcpy(&bits, &x, 4);
  to.bits = uint16_t(x == x ? (bits + noise) >> 16 : 0x7fc0u);
}}
static inline void put_rounded(bfloat16& to, double x, uint32_t noise) {{ put_rounded(to, float(x), noise); }}
"""

# The same for a block of elements.
TRITON = f'''\
@triton.jit
def key_of(name, k, PLACE: tl.constexpr):
    """32 bits that tell parameters, steps and buffers apart."""
    return (name + k.to(tl.int64) * {STEP:#x} + PLACE).to(tl.uint32)


@triton.jit
def rounded(x, begin, lane, key):
    """x in bfloat16, rounded up or down at random, right on average."""
    i = (begin + lane).to(tl.uint32)
    h = (i * {SPREAD:#x}) ^ key
    h = (h ^ (h >> 16)) * {MIX:#x}
    h = (h ^ (h >> 16)) * {MIX:#x}
    return cut(x, (h ^ (h >> 16)) & 0xFFFF)


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


def noise_like(x: Tensor, key: Tensor, place: int) -> Tensor:
    """16 random bits for each element, as int32; its arguments are those of `rounded`."""
    return (_words(x, (key + place * PLACE) & WORD) & 0xFFFF).to(torch.int32)


def words_like(x: Tensor, key: Tensor, place: int) -> Tensor:
    """32 random bits for each element, as int64; buffers share one hash, each multiplies it by an odd number."""
    return (_words(x, key & WORD) * odd_of(place)) & WORD


def odd_of(place: int) -> int:
    """By what a hash is multiplied for one buffer."""
    return ((place + 1) * 0x9E3779B2 | 1) & WORD


def _words(x: Tensor, key: Tensor) -> Tensor:
    """32 random bits for each element."""
    own = x.shape[key.dim() :]
    i = torch.arange(own.numel(), device=x.device).view(own)
    key = key.view(*key.shape, *(1 for _ in own))
    h = ((i * SPREAD) & WORD) ^ key
    for _ in range(2):
        h = ((h ^ (h >> 16)) * MIX) & WORD
    return h ^ (h >> 16)


def rounded(x: Tensor, key: Tensor, place: int) -> Tensor:
    """x in bfloat16, rounded up or down at random, right on average.

    Args:
        key: from `key_of`, as a scalar tensor, so that it never recompiles; of a stack, one for each of its tensors.
        place: the number of the buffer.
    """
    noise = noise_like(x, key, place)
    single = x.to(torch.float32)
    bits = (single.view(torch.int32) + noise) & -0x10000
    return torch.where(single.isnan(), single, bits.view(torch.float32)).to(torch.bfloat16)
