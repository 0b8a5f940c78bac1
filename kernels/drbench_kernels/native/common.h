// What all kernels share: how work is cut, how tiles are called, which pixel a tap sees, how filters are packed.
#pragma once

#include <algorithm>
#include <utility>

#include "problem.h"
#include "vector.h"

namespace drbench {
namespace {
constexpr int64_t ROWS = 1024;  // positions of one region in one piece of forward
constexpr int64_t CACHED = 48 << 10;  // floats of packed filters that stay in the second-level cache
constexpr int64_t BLOCK = 64;   // positions in one piece of backward: their g stays in the second-level cache

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t padded(int64_t width) { return ceil_div(width, VL) * VL; }

// How many pieces to cut something into so that `others` times as many keep all threads busy.
int64_t pieces(int64_t others, int64_t most, int64_t threads) {
  return std::clamp<int64_t>(ceil_div(threads > 1 ? 3 * threads : 1, others), 1, most);
}

// [from, to) of piece `index` of `count`, as even as can be.
struct Span {
  int64_t from, to;
  Span(int64_t length, int64_t count, int64_t index) : from(length * index / count), to(length * (index + 1) / count) {}
  int64_t size() const { return to - from; }
};

// Calls f.template operator()<R>() for a number of rows R in 1..Most that is known only when running.
template <int Most, typename F>
DRBENCH_INLINE void with_rows(int64_t rows, const F& f) {
  if constexpr (Most == 1) f.template operator()<1>();
  else if (rows == Most) f.template operator()<Most>();
  else with_rows<Most - 1>(rows, f);
}

// Calls f.template operator()<V>() for the number of vectors, 1..NV, that hold `width` floats.
template <int V = NV, typename F>
DRBENCH_INLINE void with_vectors(int64_t width, const F& f) {
  if constexpr (V == 1) f.template operator()<1>();
  else if (width > (V - 1) * VL) f.template operator()<V>();
  else with_vectors<V - 1>(width, f);
}

// Calls f.template operator()<R>(from) for tiles of at most Most rows, all of about the same size.
template <int Most, typename F>
DRBENCH_INLINE void for_tiles(int64_t count, const F& f) {
  const int64_t tiles = ceil_div(count, Most), rows = count / tiles, longer = count % tiles;
  int64_t from = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t size = rows + (tile < longer);
    with_rows<Most>(size, [&]<int R>() { f.template operator()<R>(from); });
    from += size;
  }
}

// The pixel that a position's filter sees at a tap; -1 outside the image.
DRBENCH_INLINE int64_t pixel(const Problem& p, int64_t position, int64_t tap) {
  return p.pointwise ? position : p.pixels[tap * p.positions() + position];
}

void find_pixels(const Problem& p, int32_t* pixels) {
  for (int64_t i = 0; i < p.kernel_h; ++i)
    for (int64_t j = 0; j < p.kernel_w; ++j)
      for (int64_t row = 0; row < p.out_height; ++row)
        for (int64_t column = 0; column < p.out_width; ++column) {
          const int64_t y = row * p.stride_h - p.pad_h + i * p.dilation_h;
          const int64_t x = column * p.stride_w - p.pad_w + j * p.dilation_w;
          const bool inside = y >= 0 && y < p.height && x >= 0 && x < p.width;
          *pixels++ = inside ? static_cast<int32_t>(y * p.width + x) : -1;
        }
}

const float* image(const Problem& p, int64_t sample) { return p.input + sample * p.height * p.width * p.channels; }

// Filters w (O, C, taps) of `width` outputs -> panel [tap][c][padded(width)], zeros behind.
void pack_outputs(const float* w, int64_t depth, int64_t taps, int64_t width, float* panel) {
  const int64_t w_row = depth * taps, columns = padded(width);
  if (width % VL == 0 && w_row >= VL) {
    for (int64_t o = 0; o < width; o += VL)
      for (int64_t d = 0; d < w_row; d = d == w_row - VL ? w_row : std::min(d + VL, w_row - VL)) {  // the last overlaps
        int64_t c = d / taps, tap = d % taps;
        transpose(w + o * w_row + d, w_row, [&](int) {
          float* to = panel + (tap * depth + c) * columns + o;
          if (++tap == taps) tap = 0, ++c;
          return to;
        });
      }
    return;
  }
  for (int64_t tap = 0; tap < taps; ++tap)
    for (int64_t c = 0; c < depth; ++c, panel += columns) {
      const float* from = w + c * taps + tap;
      for (int64_t o = 0; o < width; ++o) panel[o] = from[o * w_row];
      for (int64_t o = width; o < columns; ++o) panel[o] = 0.0f;
    }
}

// Filters w (O, C, taps), already at channel c0 and a tap, of `width` channels -> panel [o][padded(width)].
void pack_inputs(const float* w, int64_t outputs, int64_t w_row, int64_t taps, int64_t width, float* panel) {
  const int64_t columns = padded(width);
  for (int64_t o = 0; o < outputs; ++o, w += w_row, panel += columns) {
    for (int64_t c = 0; c < width; ++c) panel[c] = w[c * taps];
    for (int64_t c = width; c < columns; ++c) panel[c] = 0.0f;
  }
}

}  // namespace
}  // namespace drbench
