// Products of matrices in float32, C = α A B + β D: of float32, or of factors rounded to bfloat16 and summed in float32,
// which BLAS on a CPU has not. A symmetric one takes the tiles right of the diagonal alone, and mirrors them.
//
// As in Goto and van de Geijn 2008: rows of A and panels of B are packed, and a tile of C is summed in registers. What
// is packed are words of 32 bits: one float32, or two bfloat16 that follow each other along k. A tile's sum has one
// order, whatever the number of threads.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)  // with tiles (AMX) torch's products in bfloat16 are faster
#define HAS_HALF
#endif

#if defined(__AVX512F__)
namespace {

typedef float Vector __attribute__((vector_size(64)));

constexpr int64_t LANES = 16;                // words of a vector
constexpr int64_t ROWS = 8;                  // of a tile: with two vectors of columns, 16 sums in registers
constexpr int64_t COLUMNS = 2 * LANES;       // of a tile, and of a panel of B
constexpr int64_t DEPTH = 512;               // words along k that are packed at once: a panel of B takes 64 KiB
constexpr int64_t CHAIN = 128;               // words that are summed one after another: longer sums round more
constexpr int64_t HEIGHT = 1024;             // rows of A that are packed at once
constexpr int64_t STRIDE = DEPTH + LANES;    // of packed rows, so that those of a tile are not all in one set of a cache

inline Vector load(const void* from) {
  Vector x;
  std::memcpy(&x, from, sizeof x);
  return x;
}
inline void store(void* to, Vector x) { std::memcpy(to, &x, sizeof x); }
inline Vector repeated(const float& x) {
  Vector y;
  asm("vbroadcastss %1, %0" : "=v"(y) : "m"(x));
  return y;
}

struct Single {
  static constexpr int64_t COUNT = 1;  // numbers of a word
  static float word(const float* x, int64_t, bool) { return *x; }
  static Vector words(const float* x) { return load(x); }
  static void add(Vector& sum, Vector x, Vector y) { asm("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(y)); }
};

#ifdef HAS_HALF
struct Half {
  static constexpr int64_t COUNT = 2;
  static uint32_t rounded(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return x == x ? (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16 : 0x7fc0u;
  }
  static float word(const float* x, int64_t step, bool is_whole) {
    const uint32_t bits = rounded(x[0]) | (is_whole ? rounded(x[step]) << 16 : 0u);
    float word;
    std::memcpy(&word, &bits, 4);
    return word;
  }
  static Vector words(const float* x) {
    Vector y;
    asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(y) : "v"(load(x)), "v"(load(x + LANES)));
    return y;
  }
  static void add(Vector& sum, Vector x, Vector y) { asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(y)); }
};
#endif

struct Matrix {
  const float* begin;
  int64_t row, column;  // from one to the next
  const float* at(int64_t i, int64_t j) const { return begin + i * row + j * column; }
};

// The first eight, or the last, of each of two vectors in turn.
inline Vector low(Vector x, Vector y) {
#if defined(__clang__)
  return __builtin_shufflevector(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#else
  typedef int32_t Places __attribute__((vector_size(64)));
  return __builtin_shuffle(x, y, Places{0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23});
#endif
}
inline Vector high(Vector x, Vector y) {
#if defined(__clang__)
  return __builtin_shufflevector(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#else
  typedef int32_t Places __attribute__((vector_size(64)));
  return __builtin_shuffle(x, y, Places{8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31});
#endif
}

// The transpose of 16 × 16 words: four times row i and row i + 8 interleaved.
inline void transpose(Vector (&x)[LANES]) {
#pragma GCC unroll 4
  for (int64_t round = 0; round < 4; ++round) {
    Vector y[LANES];
#pragma GCC unroll 8
    for (int64_t i = 0; i < LANES / 2; ++i) {
      y[2 * i] = low(x[i], x[i + LANES / 2]);
      y[2 * i + 1] = high(x[i], x[i + LANES / 2]);
    }
#pragma GCC unroll 16
    for (int64_t i = 0; i < LANES; ++i) x[i] = y[i];
  }
}

// Up to 8 rows of A, `depth` numbers of each: one after another where they lie so, else the 8 side by side.
template <class T> void pack_rows(Matrix a, int64_t rows, int64_t depth, float* to) {
  const int64_t words = (depth + T::COUNT - 1) / T::COUNT, whole = depth / T::COUNT;
  if (a.column == 1)
    for (int64_t i = 0; i < rows; ++i, to += STRIDE) {
      int64_t w = 0;
      for (; w + LANES <= whole; w += LANES) store(to + w, T::words(a.at(i, w * T::COUNT)));
      for (; w < words; ++w) to[w] = T::word(a.at(i, w * T::COUNT), 1, w < whole);
    }
  else
    for (int64_t w = 0; w < words; ++w, to += ROWS)
      for (int64_t i = 0; i < rows; ++i) to[i] = T::word(a.at(i, w * T::COUNT), a.column, w < whole);
}

// A panel of up to 32 columns of B, filled up with zeros.
template <class T> void pack_panel(Matrix b, int64_t columns, int64_t depth, float* to) {
  const int64_t words = (depth + T::COUNT - 1) / T::COUNT, whole = depth / T::COUNT;
  if (columns < COLUMNS) std::memset(to, 0, sizeof(float) * words * COLUMNS);
  int64_t w = 0;
  if (columns == COLUMNS && b.column == 1)
    for (; w < whole; ++w)
      for (int64_t j = 0; j < COLUMNS; ++j) to[w * COLUMNS + j] = T::word(b.at(w * T::COUNT, 0) + j, b.row, true);
  if (columns == COLUMNS && b.row == 1)
    for (; w + LANES <= whole; w += LANES)
      for (int64_t j = 0; j < COLUMNS; j += LANES) {
        Vector x[LANES];
#pragma GCC unroll 16
        for (int64_t i = 0; i < LANES; ++i) x[i] = T::words(b.at(w * T::COUNT, j + i));
        transpose(x);
#pragma GCC unroll 16
        for (int64_t i = 0; i < LANES; ++i) store(to + (w + i) * COLUMNS + j, x[i]);
      }
  for (; w < words; ++w)
    for (int64_t j = 0; j < columns; ++j) to[w * COLUMNS + j] = T::word(b.at(w * T::COUNT, j), b.row, w < whole);
}

#define EACH_ROW(of) of(0) of(1) of(2) of(3) of(4) of(5) of(6) of(7)

// The products of 8 packed rows with a packed panel, 8 × 32, from one word on; added to what is there but for the first.
template <class T>
__attribute__((noinline)) void multiply_tile(const float* const* a, int64_t step, const float* b, int64_t begin,
                                             int64_t end, float* to) {
#define BEGIN(i) const float* a##i = a[i] + begin * step; Vector left##i = {}, right##i = {};
#define MULTIPLY(i) { const Vector x = repeated(a##i[at]); T::add(left##i, near, x); T::add(right##i, far, x); }
#define ADD(i) left##i += load(to + i * COLUMNS); right##i += load(to + i * COLUMNS + LANES);
#define END(i) store(to + i * COLUMNS, left##i); store(to + i * COLUMNS + LANES, right##i);
  EACH_ROW(BEGIN)
  b += begin * COLUMNS;
  for (int64_t w = begin, at = 0; w < end; ++w, at += step, b += COLUMNS) {
    const Vector near = load(b), far = load(b + LANES);
    EACH_ROW(MULTIPLY)
  }
  if (begin > 0) { EACH_ROW(ADD) }
  EACH_ROW(END)
}

// What is left of the diagonal, from what is right of it.
void mirror(float* c, int64_t size, int threads) {
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int64_t i0 = 0; i0 < size; i0 += LANES)
    for (int64_t j0 = 0; j0 <= i0; j0 += LANES)
      if (j0 < i0 && i0 + LANES <= size) {
        Vector x[LANES];
#pragma GCC unroll 16
        for (int64_t i = 0; i < LANES; ++i) x[i] = load(c + (j0 + i) * size + i0);
        transpose(x);
#pragma GCC unroll 16
        for (int64_t i = 0; i < LANES; ++i) store(c + (i0 + i) * size + j0, x[i]);
      } else
        for (int64_t i = i0; i < std::min(i0 + LANES, size); ++i)
          for (int64_t j = j0; j < std::min(j0 + LANES, i); ++j) c[i * size + j] = c[j * size + i];
}

template <class T>
void multiply(Matrix a, Matrix b, const float* d, float* c, int64_t m, int64_t n, int64_t k, float alpha, float beta,
              bool symmetric, int threads) {
  static thread_local std::vector<float> packed_rows;
  packed_rows.resize((std::min(m, HEIGHT) + ROWS) * STRIDE);
  float* const left = packed_rows.data();
  const bool lie_in_rows = a.column == 1;
  for (int64_t top = 0; top < m; top += HEIGHT)
    for (int64_t begin = 0; begin < k; begin += DEPTH * T::COUNT) {
      const int64_t bottom = std::min(top + HEIGHT, m), depth = std::min(DEPTH * T::COUNT, k - begin);
      const int64_t words = (depth + T::COUNT - 1) / T::COUNT;
#pragma omp parallel num_threads(threads)
      {
#pragma omp for
        for (int64_t i0 = top; i0 < bottom; i0 += ROWS) {
          const Matrix from = {a.at(i0, begin), a.row, a.column};
          pack_rows<T>(from, std::min(ROWS, bottom - i0), depth, left + (i0 - top) * STRIDE);
        }
        static thread_local std::vector<float> packed_panel(DEPTH * COLUMNS + LANES);
        float* const right = packed_panel.data() + (LANES - uintptr_t(packed_panel.data()) / 4 % LANES) % LANES;
#pragma omp for schedule(dynamic)
        for (int64_t j0 = symmetric ? top : 0; j0 < n; j0 += COLUMNS) {
          const int64_t wide = std::min(COLUMNS, n - j0);
          pack_panel<T>({b.at(begin, j0), b.row, b.column}, wide, depth, right);
          const int64_t end = symmetric ? std::min(bottom, j0 + wide) : bottom;
          for (int64_t i0 = top; i0 < end; i0 += ROWS) {
            const int64_t tall = std::min(ROWS, bottom - i0);
            const float* rows[ROWS];
            for (int64_t i = 0; i < ROWS; ++i)
              rows[i] = left + (i0 - top) * STRIDE + (lie_in_rows ? std::min(i, tall - 1) * STRIDE : i);
            alignas(64) float sums[ROWS][COLUMNS];
            for (int64_t w = 0; w < words; w += CHAIN)
              multiply_tile<T>(rows, lie_in_rows ? 1 : ROWS, right, w, std::min(w + CHAIN, words), sums[0]);
            for (int64_t i = 0; i < tall; ++i) {
              float* to = c + (i0 + i) * n + j0;
              const float* from = begin > 0 ? to : d ? d + (i0 + i) * n + j0 : nullptr;
              const float share = begin > 0 ? 1.0f : beta;
              if (from)
                for (int64_t j = 0; j < wide; ++j) to[j] = alpha * sums[i][j] + share * from[j];
              else
                for (int64_t j = 0; j < wide; ++j) to[j] = alpha * sums[i][j];
            }
          }
        }
      }
    }
  if (symmetric) mirror(c, m, threads);
}

}  // namespace

// Strides are of rows and columns, one of which is 1; C and D are contiguous, and may be the same. D may be null.
#define PRODUCT(name, kind)                                                                                            \
  extern "C" void name(const float* a, int64_t a_row, int64_t a_column, const float* b, int64_t b_row,                 \
                       int64_t b_column, const float* d, float* c, int64_t m, int64_t n, int64_t k, float alpha,       \
                       float beta, int64_t symmetric, int64_t threads) {                                               \
    multiply<kind>({a, a_row, a_column}, {b, b_row, b_column}, d, c, m, n, k, alpha, beta, symmetric, int(threads));   \
  }
PRODUCT(product_float32, Single)
#ifdef HAS_HALF
PRODUCT(product_bfloat16, Half)
#endif
#endif
