// Vectors of floats for the instruction set that this file is compiled for, and the three products of small tiles that
// every kernel is made of. GCC's vector extensions; intrinsics only where they have no word for it (partial loads).
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define DRBENCH_INLINE inline __attribute__((always_inline))

#ifndef DRBENCH_VECTOR_BYTES
#error "DRBENCH_VECTOR_BYTES: 16, 32 or 64"
#endif

namespace drbench {
namespace {

constexpr int VL = DRBENCH_VECTOR_BYTES / 4;  // floats in a vector
#if DRBENCH_VECTOR_BYTES == 64
constexpr int MR = 12, NV = 2;  // 32 registers: 12 x 2 accumulators, 2 for b
#elif DRBENCH_VECTOR_BYTES == 32
constexpr int MR = 6, NV = 2;  // 16 registers: 6 x 2 accumulators, 2 for b, 1 for a
#else
constexpr int MR = 6, NV = 4;  // 32 registers: 6 x 4 accumulators, 4 for b
#endif
constexpr int PW = NV * VL;  // width of a panel

// Rows of a tile of V vectors: narrow tiles are taller, or the additions of a register would wait for each other.
constexpr int rows_for(int vectors) { return MR * NV / vectors < 12 ? MR * NV / vectors : 12; }

typedef float vf __attribute__((vector_size(DRBENCH_VECTOR_BYTES)));
typedef float vfu __attribute__((vector_size(DRBENCH_VECTOR_BYTES), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(DRBENCH_VECTOR_BYTES)));

DRBENCH_INLINE vf load(const float* p) { return *reinterpret_cast<const vfu*>(p); }
DRBENCH_INLINE void store(float* p, vf v) { *reinterpret_cast<vfu*>(p) = v; }
DRBENCH_INLINE vf splat(float s) { return s - vf{}; }  // s - 0 is s, -0.0 and NaN included

// The first `count` floats (1..VL-1), zeros behind them; nothing beyond them is touched.
DRBENCH_INLINE vf load_first(const float* p, int count) {
#if defined(__AVX512F__) && DRBENCH_VECTOR_BYTES == 64
  return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
#elif defined(__AVX2__) && DRBENCH_VECTOR_BYTES == 32
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return (vf)_mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes));
#else
  vf v{};
  for (int i = 0; i < count; ++i) v[i] = p[i];
  return v;
#endif
}

DRBENCH_INLINE void store_first(float* p, vf v, int count) {
#if defined(__AVX512F__) && DRBENCH_VECTOR_BYTES == 64
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), (__m512)v);
#elif defined(__AVX2__) && DRBENCH_VECTOR_BYTES == 32
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  _mm256_maskstore_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes), (__m256)v);
#else
  for (int i = 0; i < count; ++i) p[i] = v[i];
#endif
}

// A row of `width` floats in vectors, width in ((V-1)*VL, V*VL].
template <int V>
DRBENCH_INLINE void load_row(const float* p, int width, vf (&row)[V]) {
  for (int v = 0; v < V - 1; ++v) row[v] = load(p + v * VL);
  const int rest = width - (V - 1) * VL;
  row[V - 1] = rest == VL ? load(p + (V - 1) * VL) : load_first(p + (V - 1) * VL, rest);
}

template <int V>
DRBENCH_INLINE void store_row(float* p, int width, const vf (&row)[V]) {
  for (int v = 0; v < V - 1; ++v) store(p + v * VL, row[v]);
  const int rest = width - (V - 1) * VL;
  if (rest == VL) store(p + (V - 1) * VL, row[V - 1]);
  else store_first(p + (V - 1) * VL, row[V - 1], rest);
}

DRBENCH_INLINE float sum(vf v) {
  float lanes[VL];
  store(lanes, v);
  for (int half = VL / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

// Four sums at once, into out[0], out[step], ...: a tree within the 128-bit lanes, then across them.
#if defined(__clang__)
#define DRBENCH_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define DRBENCH_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, vi{__VA_ARGS__})
#endif

DRBENCH_INLINE vf pair_sums(vf a, vf b) {
#if DRBENCH_VECTOR_BYTES == 64
  return DRBENCH_SHUFFLE(a, b, 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30) +
         DRBENCH_SHUFFLE(a, b, 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31);
#elif DRBENCH_VECTOR_BYTES == 32
  return DRBENCH_SHUFFLE(a, b, 0, 2, 8, 10, 4, 6, 12, 14) + DRBENCH_SHUFFLE(a, b, 1, 3, 9, 11, 5, 7, 13, 15);
#else
  return DRBENCH_SHUFFLE(a, b, 0, 2, 4, 6) + DRBENCH_SHUFFLE(a, b, 1, 3, 5, 7);
#endif
}

DRBENCH_INLINE void four_sums(vf a, vf b, vf c, vf d, float out[4]) {
  const vf lanes = pair_sums(pair_sums(a, b), pair_sums(c, d));
#if defined(__AVX512F__) && DRBENCH_VECTOR_BYTES == 64
  const __m512 v = (__m512)lanes;
  _mm_storeu_ps(out, _mm_add_ps(_mm_add_ps(_mm512_castps512_ps128(v), _mm512_extractf32x4_ps(v, 1)),
                                _mm_add_ps(_mm512_extractf32x4_ps(v, 2), _mm512_extractf32x4_ps(v, 3))));
#elif defined(__AVX2__) && DRBENCH_VECTOR_BYTES == 32
  const __m256 v = (__m256)lanes;
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)));
#else
  for (int i = 0; i < 4; ++i) out[i] = lanes[i];
  for (int i = 4; i < VL; ++i) out[i % 4] += lanes[i];
#endif
}

// VL x VL floats, rows `from_row` apart, turned: the i-th row of the result goes to to(i). log2(VL) rounds of interleaving
// the first half of the rows with the second.
template <typename To>
DRBENCH_INLINE void transpose(const float* from, int64_t from_row, const To& to) {
  vf rows[VL], next[VL];
#pragma GCC unroll 16
  for (int i = 0; i < VL; ++i) {
    rows[i] = load(from + i * from_row);
    __builtin_prefetch(from + (i + VL) * from_row);  // filters come from far, and only once
  }
#pragma GCC unroll 4
  for (int round = 1; round < VL; round *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < VL / 2; ++i) {
      const vf a = rows[i], b = rows[i + VL / 2];
#if DRBENCH_VECTOR_BYTES == 64
      next[2 * i] = DRBENCH_SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      next[2 * i + 1] = DRBENCH_SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif DRBENCH_VECTOR_BYTES == 32
      next[2 * i] = DRBENCH_SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
      next[2 * i + 1] = DRBENCH_SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
      next[2 * i] = DRBENCH_SHUFFLE(a, b, 0, 4, 1, 5);
      next[2 * i + 1] = DRBENCH_SHUFFLE(a, b, 2, 6, 3, 7);
#endif
    }
#pragma GCC unroll 16
    for (int i = 0; i < VL; ++i) rows[i] = next[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < VL; ++i) store(to(i), rows[i]);
}

// acc[r][:] += sum_k a[r][k] * b[k * ldb + :]
template <int R, int V>
DRBENCH_INLINE void multiply(const float* const* a, int64_t count, const float* b, int64_t ldb, vf (&acc)[R][V]) {
  for (int64_t k = 0; k < count; ++k, b += ldb) {
    vf row[V];
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) row[v] = load(b + v * VL);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const vf s = splat(a[r][k]);
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) acc[r][v] += s * row[v];
    }
  }
}

// acc[r][o] += a[r][:] * b[o][:], still spread over the lanes (see four_sums); `count` floats, at least VL.
// What is left behind the last whole vector is read as the last VL floats with those masked out that were seen before.
template <int R, int O>
DRBENCH_INLINE void dot(const float* const* a, const float* b, int64_t ldb, int64_t count, vf (&acc)[R][O]) {
  int64_t d = 0;
  for (; d + VL <= count; d += VL) {
    vf row[O];
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o) {
      row[o] = load(b + o * ldb + d);
      __builtin_prefetch(b + (o + O) * ldb + d);  // the next filters: they come from far, and only once
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const vf x = load(a[r] + d);
#pragma GCC unroll 16
      for (int o = 0; o < O; ++o) acc[r][o] += x * row[o];
    }
  }
  if (d == count) return;
  const int32_t seen = static_cast<int32_t>(VL - (count - d));
  vi lane;
  for (int i = 0; i < VL; ++i) lane[i] = i;
  const vi keep = lane >= seen;  // all bits set, or none
  const auto masked = [&](const float* p) { return (vf)((vi)load(p + count - VL) & keep); };
  vf row[O];
  for (int o = 0; o < O; ++o) row[o] = masked(b + o * ldb);
  for (int r = 0; r < R; ++r) {
    const vf x = masked(a[r]);
    for (int o = 0; o < O; ++o) acc[r][o] += x * row[o];
  }
}

// exp(x) for x <= 0: Cephes' expf, within 2 units in the last place; 0 below -87, NaN stays.
DRBENCH_INLINE vf exp_of_negative(vf x) {
  const vf low = splat(-87.0f);
  const vi tiny = x < low;
  const vf z = (vf)((tiny & (vi)low) | (~tiny & (vi)x));
  const vf scaled = z * 1.44269504088896341f;
  const vf shift = splat(12582912.0f);  // 1.5 * 2^23: adding and taking it away rounds to the nearest integer
  const vf whole = (scaled + shift) - shift;
  vf f = z - whole * 0.693359375f;
  f = f - whole * -2.12194440e-4f;
  vf y = splat(1.9875691500e-4f);
  y = y * f + 1.3981999507e-3f;
  y = y * f + 8.3334519073e-3f;
  y = y * f + 4.1665795894e-2f;
  y = y * f + 1.6666665459e-1f;
  y = y * f + 5.0000001201e-1f;
  y = y * (f * f) + f + 1.0f;
  const vi exponent = (__builtin_convertvector(whole, vi) + 127) << 23;
  return (vf)(~tiny & (vi)(y * (vf)exponent));
}

}  // namespace
}  // namespace drbench
