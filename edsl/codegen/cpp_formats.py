"""Codes of state in C++: a block of them becomes numbers in cache before a loop, and codes again behind it.

What `edsl.numerics.formats.format` does to a tensor, these functions do to one block, with the same results.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edsl.numerics.formats.format import NOT_FINITE, StateFormat
from edsl.numerics.formats.layout import BLOCK
from edsl.numerics.stochastic_rounding import SPREAD, odd_of

CODES = f"""\
template <class T> struct bits_of;
template <> struct bits_of<float> {{
  typedef int32_t type; static constexpr int32_t size = 0x7fffffff, infinity = 0x7f800000;
}};
template <> struct bits_of<double> {{
  typedef int64_t type; static constexpr int64_t size = 0x7fffffffffffffffll, infinity = 0x7ff0000000000000ll;
}};
template <class T> static inline T power_of_two(int e);
template <> inline float power_of_two<float>(int e) {{
  const uint32_t bits = uint32_t(e + 127) << 23; float y; std::memcpy(&y, &bits, 4); return y;
}}
template <> inline double power_of_two<double>(int e) {{
  const uint64_t bits = uint64_t(e + 1023) << 52; double y; std::memcpy(&y, &bits, 8); return y;
}}
static inline int exponent_of(float largest) {{
  int32_t bits; std::memcpy(&bits, &largest, 4);
  const int e = int((bits + 0x7fffff) >> 23) - 127;
  return largest == 0 ? 0 : e < -126 ? -126 : e > 126 ? 126 : e;
}}
static inline int exponent_of(double largest) {{
  int64_t bits; std::memcpy(&bits, &largest, 8);
  const int e = int((bits + 0xfffffffffffffll) >> 52) - 1023;
  return largest == 0 ? 0 : e < -1022 ? -1022 : e > 1022 ? 1022 : e;
}}
static inline int header_of(const uint8_t* at) {{ return int(int16_t(uint16_t(at[0] | at[1] << 8))); }}
template <class T, class format>
static inline void values_of(const uint8_t* codes, T* to, int64_t n, T scale) {{
  #pragma omp simd
  for (int64_t i = 0; i < n; i++) to[i] = T(format::value(codes[i])) * scale;
}}
template <class T, class format>
static inline void codes_of(const T* from, uint8_t* codes, int64_t n, T inverse, const uint32_t* words, uint32_t odd) {{
  #pragma omp simd
  for (int64_t i = 0; i < n; i++) {{
    codes[i] = uint8_t(format::code(float(from[i] * inverse), words[i] * odd));
  }}
}}
static inline void words_of(uint32_t first, uint32_t key, uint32_t* words, int64_t n) {{
  #pragma omp simd
  for (int64_t i = 0; i < n; i++) words[i] = word_at((first + uint32_t(i)) * {SPREAD:#x}u, key);
}}
template <class T, template <bool> class format, int bits>
static inline void read_block(const uint8_t* codes, const uint8_t* header, T* to, int64_t n) {{
  uint8_t single[{BLOCK}];
  if (bits == 4) {{
    for (int64_t i = 0; i < (n + 1) / 2; i++) {{ single[2 * i] = codes[i] & 15; single[2 * i + 1] = codes[i] >> 4; }}
    codes = single;
  }}
  const int h = header_of(header);
  const T scale = h >> 1 == {NOT_FINITE} ? T(NAN) : power_of_two<T>(h >> 1);
  if (h & 1) values_of<T, format<true>>(codes, to, n, scale); else values_of<T, format<false>>(codes, to, n, scale);
}}
template <class T, template <bool> class format, int bits>
static inline void write_block(
    uint8_t* codes, uint8_t* header, const T* from, int64_t n, const uint32_t* words, uint32_t odd,
    T unsigned_top, T signed_top) {{
  typedef typename bits_of<T>::type B;
  B most = 0, signs = 0;
  #pragma omp simd reduction(max:most) reduction(|:signs)
  for (int64_t i = 0; i < n; i++) {{
    B x; std::memcpy(&x, from + i, sizeof(T));
    const B size = x & bits_of<T>::size;
    most = size > most ? size : most;
    signs |= x;
  }}
  T largest; std::memcpy(&largest, &most, sizeof(T));
  const bool is_unsigned = signs >= 0, is_finite = most < bits_of<T>::infinity;
  const int e = is_finite ? exponent_of(largest * (is_unsigned ? unsigned_top : signed_top)) : 0;
  const int h = ((is_finite ? e : {NOT_FINITE}) << 1) + is_unsigned;
  const T inverse = power_of_two<T>(-e);
  uint8_t single[{BLOCK}];
  uint8_t* const to = bits == 8 ? codes : single;
  if (bits == 4) single[n < {BLOCK} ? n : 0] = 0;
  if (is_unsigned) codes_of<T, format<true>>(from, to, n, inverse, words, odd);
  else codes_of<T, format<false>>(from, to, n, inverse, words, odd);
  if (bits == 4)
    for (int64_t i = 0; i < (n + 1) / 2; i++) codes[i] = uint8_t(single[2 * i] | single[2 * i + 1] << 4);
  header[0] = uint8_t(h); header[1] = uint8_t(h >> 8);
}}
"""


def prelude(formats: Iterable[StateFormat]) -> str:
    """The functions that some formats need."""
    found = list(dict.fromkeys(formats))
    return "\n".join([CODES, *(form.cxx for form in found)]) if found else ""


def block_bounds(number: int) -> list[str]:
    """Lines that say how many blocks a layer has, each within a row of codes."""
    return [
        f"  const int64_t width{number} = row[4], across{number} = (width{number} + {BLOCK - 1}) / {BLOCK};",
        f"  const int64_t blocks{number} = width{number} ? n / width{number} * across{number} : 0;",
    ]


def block_begin(number: int) -> list[str]:
    """Lines that say where a block begins and ends."""
    return [
        f"    const int64_t line = block / across{number}, within = block % across{number};",
        f"    const int64_t begin = line * width{number} + within * {BLOCK};",
        f"    const int64_t end = within + 1 < across{number} ? begin + {BLOCK} : (line + 1) * width{number};",
    ]


def opening(number: int, formats: dict[int, StateFormat], read: Sequence[int], touched: Sequence[int]) -> list[str]:
    """Lines before a loop over a block: where its codes lie, and those that are read as numbers."""
    lines = []
    for i in touched:
        form = formats[i]
        codes = f"(width{number} * {form.bits} + 31) / 32 * 4"
        lines += [
            f"    const int64_t bytes{i} = {codes} + (across{number} + 1) / 2 * 4;",
            f"    uint8_t* const codes{i} = buffer{i}_ + line * bytes{i} + within * {BLOCK * form.bits // 8};",
            f"    uint8_t* const header{i} = buffer{i}_ + line * bytes{i} + {codes} + 2 * within;",
            f"    alignas(64) W value{i}[{BLOCK}];",
        ]
        if i in read:
            lines.append(
                f"    read_block<W, format_{form.name}, {form.bits}>(codes{i}, header{i}, value{i}, end - begin);"
            )
    return lines


def closing(formats: dict[int, StateFormat], written: Sequence[int], places: Sequence[int]) -> list[str]:
    """Lines behind a loop over a block: what it has written becomes codes."""
    if not written:
        return []
    lines = [f"    uint32_t words[{BLOCK}];", "    words_of(uint32_t(begin), key, words, end - begin);"]
    for i in written:
        form = formats[i]
        unsigned, signed = (1 / top for top in form.tops)
        lines.append(
            f"    write_block<W, format_{form.name}, {form.bits}>(codes{i}, header{i}, value{i}, end - begin, words, "
            f"{odd_of(places[i])}u, W({unsigned!r}), W({signed!r}));"
        )
    return lines
