"""Codes of state in C++: a block of them becomes numbers in cache before a loop, and codes again behind it.

What `edsl.numerics.formats.format` does to a tensor, these functions do to one block, with the same results.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edsl.numerics.formats.format import NOT_FINITE, StateFormat
from edsl.numerics.formats.layout import BLOCK
from edsl.numerics.stochastic_rounding import odd_of

CODES = f"""\
template <class T> struct bits_of;
template <> struct bits_of<float> {{
  typedef int32_t type; typedef uint32_t natural;
  static constexpr int32_t size = 0x7fffffff, infinity = 0x7f800000;
}};
template <> struct bits_of<double> {{
  typedef int64_t type; typedef uint64_t natural;
  static constexpr int64_t size = 0x7fffffffffffffffll, infinity = 0x7ff0000000000000ll;
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
static inline int32_t bits(float x) {{ int32_t b; std::memcpy(&b, &x, 4); return b; }}
static inline int64_t bits(double x) {{ int64_t b; std::memcpy(&b, &x, 8); return b; }}
static inline int32_t sign_of(float x) {{ return bits(x) >> 31; }}
static inline int32_t sign_of(double x) {{ return int32_t(bits(x) >> 63); }}
static inline int32_t is_positive(float x) {{ return bits(x) < 1 ? bits(x) : 1; }}  // of what has no sign
static inline int32_t is_positive(double x) {{ return x > 0; }}
template <class T> static inline int32_t positive_code(int32_t c, T x) {{  // of an unsigned block: not 0 where x is not
  const int32_t least = is_positive(x);
  return c > least ? c : least;
}}
static inline float turned(float x, int32_t sign) {{  // by a sign bit
  const int32_t b = bits(x) ^ sign; float y; std::memcpy(&y, &b, 4); return y;
}}
static inline double turned(double x, int32_t sign) {{ return sign < 0 ? -x : x; }}
template <class T> struct block_scale {{  // of a block that is read
  T scale; bool is_unsigned;
  explicit block_scale(const uint8_t* header) {{
    const int h = header_of(header);
    scale = h >> 1 == {NOT_FINITE} ? T(NAN) : power_of_two<T>(h >> 1);
    is_unsigned = h & 1;
  }}
}};
static inline float scaled_less(float v, float scale, float zero) {{  // v * scale - zero, which is exact
#ifdef __FP_FAST_FMAF
  return __builtin_fmaf(v, scale, -zero);
#else
  return v * scale - zero;
#endif
}}
static inline double scaled_less(double v, double scale, double zero) {{ return v * scale - zero; }}
static inline float size_above(float zero, float x, float inverse) {{  // |x| * inverse + zero, the product exact
#ifdef __FP_FAST_FMAF
  return __builtin_fmaf(std::fabs(x), inverse, zero);
#else
  return std::fabs(x) * inverse + zero;
#endif
}}
static inline float size_above(float zero, double x, double inverse) {{ return float(std::fabs(x) * inverse) + zero; }}
// One number of 32 bits a code, so that a loop over elements has vectors of one length: 8-bit ones beside would make it
// take four registers for each.
template <int bits> static inline void widen(const uint8_t* codes, int32_t* to, int64_t n) {{
  alignas(64) uint8_t single[{BLOCK}];
  if (bits == 4) {{
    for (int64_t i = 0; i < (n + 1) / 2; i++) {{ single[2 * i] = codes[i] & 15; single[2 * i + 1] = codes[i] >> 4; }}
    codes = single;
  }}
  for (int64_t i = 0; i < n; i++) to[i] = codes[i];
}}
template <int bits> static inline void narrow(const int32_t* from, uint8_t* codes, int64_t n) {{
  alignas(64) uint8_t single[{BLOCK}];
  uint8_t* const to = bits == 8 ? codes : single;
  for (int64_t i = 0; i < n; i++) to[i] = uint8_t(from[i]);
  if (bits == 8) return;
  if (n % 2) single[n] = 0;
  for (int64_t i = 0; i < n / 2 + n % 2; i++) codes[i] = uint8_t(single[2 * i] | single[2 * i + 1] << 4);
}}
template <class T, class format>
static inline void codes_of(const T* from, int32_t* codes, int64_t n, T inverse, const uint32_t* words, uint32_t odd) {{
  #pragma omp simd
  for (int64_t i = 0; i < n; i++) codes[i] = format::code(from[i], inverse, words[i] * odd);
}}
template <class T> struct next_scale {{  // of a block that is written
  T inverse; int header; bool is_unsigned;
  // high and low are the greatest bits of elements, as signed integers and as unsigned ones.
  next_scale(
      T unsigned_top, T signed_top, typename bits_of<T>::type high, typename bits_of<T>::natural low) {{
    typedef typename bits_of<T>::type B;
    const B negative = B(low);
    is_unsigned = negative >= 0;
    const B below = is_unsigned ? 0 : negative & bits_of<T>::size, most = high > below ? high : below;
    T largest; std::memcpy(&largest, &most, sizeof(T));
    const bool is_finite = most < bits_of<T>::infinity;
    const int e = is_finite ? exponent_of(largest * (is_unsigned ? unsigned_top : signed_top)) : 0;
    header = ((is_finite ? e : {NOT_FINITE}) << 1) + is_unsigned;
    inverse = power_of_two<T>(-e);
  }}
}};
template <class T, template <bool> class format, int bits>
static inline void write_block(
    uint8_t* codes, uint8_t* header, const T* from, int64_t n, const uint32_t* words, uint32_t odd, next_scale<T> next
) {{
  alignas(64) int32_t wide[{BLOCK}];
  if (next.is_unsigned) codes_of<T, format<true>>(from, wide, n, next.inverse, words, odd);
  else codes_of<T, format<false>>(from, wide, n, next.inverse, words, odd);
  narrow<bits>(wide, codes, n);
  header[0] = uint8_t(next.header); header[1] = uint8_t(next.header >> 8);
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


def opening(number: int, formats: dict[int, StateFormat], read: Sequence[int], written: Sequence[int]) -> list[str]:
    """Lines before a loop over a block: where its codes lie, and what their values are computed with."""
    lines = []
    for i in sorted({*read, *written}):
        form = formats[i]
        codes = f"(width{number} * {form.bits} + 31) / 32 * 4"
        lines += [
            f"    const int64_t bytes{i} = {codes} + (across{number} + 1) / 2 * 4;",
            f"    uint8_t* const codes{i} = buffer{i}_ + line * bytes{i} + within * {BLOCK * form.bits // 8};",
            f"    uint8_t* const header{i} = buffer{i}_ + line * bytes{i} + {codes} + 2 * within;",
        ]
    for i in read:
        form = formats[i]
        lines += [
            f"    alignas(64) int32_t read{i}[{BLOCK}];",
            f"    widen<{form.bits}>(codes{i}, read{i}, end - begin);",
            f"    const reader_{form.name}<W> value{i}{{block_scale<W>(header{i})}};",
        ]
    for i in written:
        lines += [
            f"    alignas(64) W new{i}[{BLOCK}];",
            f"    bits_of<W>::type high{i} = 0;",
            f"    bits_of<W>::natural low{i} = 0;",
        ]
    return [*lines, *([f"    alignas(64) uint32_t words[{BLOCK}];"] if written else [])]


def value_read(i: int) -> str:
    """An element of a buffer."""
    return f"value{i}.of(read{i}[i - begin])"


def write(i: int, value: str) -> list[str]:
    """Lines within a loop: an element is put aside, and its bits compared."""
    return [
        f"new{i}[i - begin] = {value};",
        f"high{i} = bits({value}) > high{i} ? bits({value}) : high{i};",
        f"low{i} = bits_of<W>::natural(bits({value})) > low{i} ? bits_of<W>::natural(bits({value})) : low{i};",
    ]


def closing(formats: dict[int, StateFormat], written: Sequence[int], places: Sequence[int]) -> list[str]:
    """Lines behind a loop over a block: what it has written becomes codes."""
    scales: list[str] = []
    lines: list[str] = []
    for i in written:
        form = formats[i]
        unsigned, signed = (1 / top for top in form.tops)
        scales.append(f"    const next_scale<W> next{i}(W({unsigned!r}), W({signed!r}), high{i}, low{i});")
        lines.append(
            f"    write_block<W, format_{form.name}, {form.bits}>(codes{i}, header{i}, new{i}, end - begin, words, "
            f"{odd_of(places[i])}u, next{i});"
        )
    return scales + lines  # all scales before, so that a processor finds them at once
