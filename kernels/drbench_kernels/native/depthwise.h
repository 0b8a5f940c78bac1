// Depthwise: one channel a group. No tile of a product has more than one row here, so the channels lie side by side in
// the vectors instead, and every position reads the filter of its region, packed as [region][tap][padded(channels)].
#pragma once

#include "forward.h"

namespace drbench {
namespace {
namespace depthwise {
constexpr int64_t STEP = 128;       // positions in one piece of forward
constexpr int WIDE = 4;             // vectors of channels that a position takes at once
constexpr int ROWS_AT_ONCE = MR * NV / 8;  // positions whose scores of 8 regions fit the registers

int64_t packed_size(const Problem& p) { return p.taps() * padded(p.channels); }

void pack(const Problem& p, int64_t filter, float* packed) {
  pack_outputs(p.filters + filter * p.filter_size(), 1, p.taps(), p.channels, packed + filter * packed_size(p));
}

const float* filters_of(const Problem& p, int64_t sample) {
  return p.packed + (p.shared_filters ? 0 : sample * p.regions) * packed_size(p);
}

Plan plan_forward(const Problem& p, int64_t) { return {p.samples * ceil_div(p.positions(), STEP), 0}; }

void forward(const Problem& p, int64_t, int64_t task, const float*, float*) {
  const int64_t cut = ceil_div(p.positions(), STEP), sample = task / cut, columns = padded(p.channels);
  const Span span(p.positions(), cut, task % cut);
  const float *x = image(p, sample), *w = filters_of(p, sample);
  const int32_t* region = p.region + sample * p.positions();
  float* y = p.output + sample * p.positions() * p.channels;
  for (int64_t c = 0; c < p.channels; c += WIDE * VL) {
    const int width = static_cast<int>(std::min<int64_t>(WIDE * VL, p.channels - c));
    with_vectors<WIDE>(width, [&]<int V>() {
      vf first[V] = {};
      if (p.bias) load_row(p.bias + c, width, first);
      for (int64_t i = span.from; i < span.to; ++i) {
        vf acc[V];
        for (int v = 0; v < V; ++v) acc[v] = first[v];
        const float* own = w + region[i] * packed_size(p) + c;
        for (int64_t tap = 0; tap < p.taps(); ++tap, own += columns) {
          const int64_t at = pixel(p, i, tap);
          if (at < 0) continue;
          vf row[V];
          load_row(x + at * p.channels + c, width, row);
          for (int v = 0; v < V; ++v) acc[v] += row[v] * load(own + v * VL);
        }
        store_row(y + i * p.channels + c, width, acc);
      }
    });
  }
}

// Windows overlap, so pieces are blocks of channels, each with scores of its own that are added up afterwards.
int64_t score_chunks(const Problem& p, int64_t threads) {
  return pieces(p.samples, std::min<int64_t>(ceil_div(p.channels, VL), 16), std::min<int64_t>(threads, 4));
}

int64_t most_columns(const Problem& p, int64_t chunks) { return ceil_div(ceil_div(p.channels, VL), chunks) * VL; }

Plan plan_backward_input(const Problem& p, int64_t threads) {
  const int64_t chunks = score_chunks(p, threads);
  return {p.samples * chunks, ROWS_AT_ONCE * p.taps() * most_columns(p, chunks)};
}

// One position's gradient of the input; and g * x at every tap, [tap][columns], zeros outside, for the scores.
template <bool Scored>
void through_own_filter(const Problem& p, int64_t sample, int64_t i, const Span& channels, const float* w,
                        float* products) {
  const int64_t columns = padded(channels.size()), first = sample * p.height * p.width;
  const float* g = p.grad + (sample * p.positions() + i) * p.channels + channels.from;
  w += p.region[sample * p.positions() + i] * packed_size(p) + channels.from;
  for (int64_t tap = 0; tap < p.taps(); ++tap, w += padded(p.channels), products += columns) {
    const int64_t at = pixel(p, i, tap);
    if (at < 0) {
      if (Scored) std::fill_n(products, columns, 0.0f);
      continue;
    }
    const int64_t place = (first + at) * p.channels + channels.from;
    const float* x = p.input + place;
    float* dx = p.grad_input + place;
    for (int64_t c = 0; c < channels.size(); c += VL) {
      const int width = static_cast<int>(std::min<int64_t>(VL, channels.size() - c));
      vf g_c[1], row[1];
      load_row(g + c, width, g_c);
      if (Scored) {
        load_row(x + c, width, row);
        store(products + c, g_c[0] * row[0]);
      }
      row[0] = vf{};
      if (!p.pointwise) load_row(dx + c, width, row);
      row[0] += g_c[0] * load(w + c);
      store_row(dx + c, width, row);
    }
  }
}

void backward_input(const Problem& p, int64_t threads, int64_t task, bool all_regions, float* products) {
  const int64_t chunks = score_chunks(p, threads), chunk = task % chunks, sample = task / chunks;
  Span channels(ceil_div(p.channels, VL), chunks, chunk);
  channels.from *= VL;
  channels.to = std::min(channels.to * VL, p.channels);
  const int64_t columns = padded(channels.size()), size = p.taps() * columns;
  const float* w = filters_of(p, sample);
  if (!all_regions) {
    for (int64_t i = 0; i < p.positions(); ++i) through_own_filter<false>(p, sample, i, channels, w, products);
    return;
  }
  float* scores = p.scores + (chunk * p.samples + sample) * p.regions * p.positions();
  for_tiles<ROWS_AT_ONCE>(p.positions(), [&]<int R>(int64_t from) {
    const float* a[R];
    for (int r = 0; r < R; ++r) through_own_filter<true>(p, sample, from + r, channels, w, products + r * size);
    int64_t j = 0;
    const auto some = [&]<int O>() {
      for (; j + O <= p.regions; j += O) {
        vf acc[R][O] = {};
        for (int64_t tap = 0; tap < p.taps(); ++tap) {
          for (int r = 0; r < R; ++r) a[r] = products + r * size + tap * columns;
          dot(a, w + j * packed_size(p) + tap * padded(p.channels) + channels.from, packed_size(p), columns, acc);
        }
        float sums[(R * O + 3) / 4 * 4];
        const vf *flat = &acc[0][0], none{};
#pragma GCC unroll 16
        for (int i = 0; i < R * O; i += 4)
          four_sums(flat[i], i + 1 < R * O ? flat[i + 1] : none, i + 2 < R * O ? flat[i + 2] : none,
                    i + 3 < R * O ? flat[i + 3] : none, sums + i);
        for (int r = 0; r < R; ++r)
          for (int o = 0; o < O; ++o) scores[(j + o) * p.positions() + from + r] = sums[r * O + o];
      }
    };
    some.template operator()<8>();
    some.template operator()<4>();
    some.template operator()<1>();
  });
}

struct Cut {
  int64_t samples, chunks;
  Cut(const Problem& p, int64_t threads) {
    samples = p.shared_filters ? 1 : p.samples;
    chunks = pieces(samples * p.regions, ceil_div(p.channels, PW), threads);
  }
};

Plan plan_backward_filters(const Problem& p, int64_t threads) {
  const Cut cut(p, threads);
  return {cut.samples * p.regions * cut.chunks, 0};
}

// Into p.grad_filters, packed: sums over the positions of a region, by some taps at once.
void backward_filters(const Problem& p, int64_t threads, int64_t task, float*) {
  const Cut cut(p, threads);
  const int64_t region = task / cut.chunks % p.regions, sample = task / cut.chunks / p.regions;
  const int64_t first = p.shared_filters ? 0 : sample, last = p.shared_filters ? p.samples : sample + 1;
  const Span panels(ceil_div(p.channels, PW), cut.chunks, task % cut.chunks), all(p.positions(), 1, 0);
  float* dw = p.grad_filters + (sample * p.regions + region) * packed_size(p);
  for (int64_t c = panels.from * PW; c < std::min(panels.to * PW, p.channels); c += PW) {
    const int width = static_cast<int>(std::min<int64_t>(PW, p.channels - c));
    with_vectors(width, [&]<int V>() {
      for_tiles<MR < 9 ? MR : 9>(p.taps(), [&]<int T>(int64_t tap) {
        vf acc[T][V] = {};
        for (int64_t n = first; n < last; ++n) {
          const Rows rows(p, n, region, all);
          const float *x = image(p, n) + c, *g = p.grad + n * p.positions() * p.channels + c;
          for (int64_t i = 0; i < rows.count; ++i) {
            vf g_c[V];
            load_row(g + rows.positions[i] * p.channels, width, g_c);
#pragma GCC unroll 16
            for (int t = 0; t < T; ++t) {
              const int64_t at = pixel(p, rows.positions[i], tap + t);
              if (at < 0) continue;
              vf row[V];
              load_row(x + at * p.channels, width, row);
              for (int v = 0; v < V; ++v) acc[t][v] += g_c[v] * row[v];
            }
          }
        }
        for (int t = 0; t < T; ++t)
          for (int v = 0; v < V; ++v) store(dw + (tap + t) * padded(p.channels) + c + v * VL, acc[t][v]);
      });
    });
  }
}

}  // namespace depthwise
}  // namespace
}  // namespace drbench
