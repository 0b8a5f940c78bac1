// Backward: the gradients of filters, sums over the positions of a region; those of experts are mixed from them.
#pragma once

#include "forward.h"

namespace drbench {
namespace {
// acc[r][:] += sum over the positions of a region of g[o + r] * x[c + :]
template <int R, int V>
DRBENCH_INLINE void outer(const Problem& p, const float* g, const float* x, const int32_t* positions, int64_t count,
                          int64_t tap, int width, vf (&acc)[R][V]) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = pixel(p, positions[i], tap);
    if (at < 0) continue;
    const float* g_p = g + positions[i] * p.outputs;
    vf row[V];
    load_row(x + at * p.channels, width, row);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const vf s = splat(g_p[r]);
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) acc[r][v] += s * row[v];
    }
  }
}

struct FilterCut {
  int64_t samples, regions, o_chunks, c_chunks;
  FilterCut(const Problem& p, int64_t threads) {
    const int64_t tiles = ceil_div(p.group_outputs(), MR), panels = ceil_div(p.depth(), PW);
    samples = p.experts || p.shared_filters ? 1 : p.samples;
    regions = p.experts ? 1 : p.regions;
    // Experts: a block of K * 4 MR * 4 PW sums stays in the second-level cache while all samples go by.
    o_chunks = p.experts ? ceil_div(tiles, 4) : pieces(samples * regions * p.groups, tiles, threads);
    c_chunks = p.experts ? ceil_div(panels, 4) : 1;
  }
  int64_t tasks(const Problem& p) const { return samples * regions * p.groups * o_chunks * c_chunks; }
};

constexpr int64_t TILE = MR * PW;

Plan plan_backward_filters(const Problem& p, int64_t threads) {
  const FilterCut cut(p, threads);
  if (!p.experts) return {cut.tasks(p), 0};
  const int64_t tiles = ceil_div(ceil_div(p.group_outputs(), MR), cut.o_chunks) *
                        ceil_div(ceil_div(p.depth(), PW), cut.c_chunks) * p.taps();
  return {cut.tasks(p), (p.regions + tiles * p.experts) * TILE + padded(p.regions) * p.experts};
}

// One row of a filter's gradient, `width` channels at a tap.
template <int V>
DRBENCH_INLINE void store_filter(const Problem& p, const vf (&row)[V], int width, float* to) {
  if (p.taps() == 1) return store_row(to, width, row);
  float channels[V * VL];
  for (int v = 0; v < V; ++v) store(channels + v * VL, row[v]);
  for (int c = 0; c < width; ++c) to[c * p.taps()] = channels[c];
}

void backward_filters_of_regions(const Problem& p, const FilterCut& cut, int64_t task) {
  const int64_t o_chunk = task % cut.o_chunks, group = task / cut.o_chunks % p.groups;
  const int64_t region = task / cut.o_chunks / p.groups % p.regions;
  const int64_t sample = task / cut.o_chunks / p.groups / p.regions;
  const int64_t first = p.shared_filters ? 0 : sample, last = p.shared_filters ? p.samples : sample + 1;
  const int64_t w_row = p.depth() * p.taps();
  const Span tiles(ceil_div(p.group_outputs(), MR), cut.o_chunks, o_chunk), all(p.positions(), 1, 0);
  float* dw = p.grad_filters + (sample * p.regions + region) * p.filter_size() + group * p.group_outputs() * w_row;
  for (int64_t c = 0; c < p.depth(); c += PW)
    for (int64_t o = tiles.from * MR; o < std::min(tiles.to * MR, p.group_outputs()); o += MR)
      for (int64_t tap = 0; tap < p.taps(); ++tap) {
        const int width = static_cast<int>(std::min<int64_t>(PW, p.depth() - c));
        with_rows<MR>(std::min<int64_t>(MR, p.group_outputs() - o), [&]<int R>() {
          with_vectors(width, [&]<int V>() {
            vf acc[R][V] = {};
            for (int64_t n = first; n < last; ++n) {
              const Rows rows(p, n, region, all);
              const float* g = p.grad + n * p.positions() * p.outputs + group * p.group_outputs() + o;
              outer(p, g, image(p, n) + group * p.depth() + c, rows.positions, rows.count, tap, width, acc);
            }
            for (int r = 0; r < R; ++r) store_filter(p, acc[r], width, dw + (o + r) * w_row + c * p.taps() + tap);
          });
        });
      }
}

// dE_k = sum over samples and regions of a[n, j, k] dW[n, j], tile by tile: dW of a tile for all regions, then a
// product of the coefficients with it, added to sums that stay in the cache. Samples in order: two runs are equal.
void backward_experts(const Problem& p, const FilterCut& cut, int64_t task, float* scratch) {
  const int64_t c_chunk = task % cut.c_chunks, o_chunk = task / cut.c_chunks % cut.o_chunks;
  const int64_t group = task / cut.c_chunks / cut.o_chunks, w_row = p.depth() * p.taps();
  const Span o_tiles(ceil_div(p.group_outputs(), MR), cut.o_chunks, o_chunk);
  const Span panels(ceil_div(p.depth(), PW), cut.c_chunks, c_chunk), all(p.positions(), 1, 0);
  const int64_t tiles = o_tiles.size() * panels.size() * p.taps();
  float* dw = scratch;                              // [j][MR][PW]
  float* sums = scratch + p.regions * TILE;         // [tile][k][MR][PW]
  float* a = sums + tiles * p.experts * TILE;       // [k][j]: the sample's coefficients, transposed
  std::fill_n(sums, tiles * p.experts * TILE, 0.0f);
  for (int64_t n = 0; n < p.samples; ++n) {
    for (int64_t k = 0; k < p.experts; ++k)
      for (int64_t j = 0; j < p.regions; ++j)
        a[k * p.regions + j] = p.coefficients[(n * p.regions + j) * p.experts + k];
    float* sum_tile = sums;
    for (int64_t tap = 0; tap < p.taps(); ++tap)
      for (int64_t o_tile = o_tiles.from; o_tile < o_tiles.to; ++o_tile)
        for (int64_t panel = panels.from; panel < panels.to; ++panel, sum_tile += p.experts * TILE) {
          const int64_t o = o_tile * MR, c = panel * PW;
          const int width = static_cast<int>(std::min<int64_t>(PW, p.depth() - c));
          const float* g = p.grad + n * p.positions() * p.outputs + group * p.group_outputs() + o;
          const float* x = image(p, n) + group * p.depth() + c;
          with_rows<MR>(std::min<int64_t>(MR, p.group_outputs() - o), [&]<int R>() {
            for (int64_t j = 0; j < p.regions; ++j) {
              const Rows rows(p, n, j, all);
              with_vectors(width, [&]<int V>() {
                vf acc[R][V] = {};
                outer(p, g, x, rows.positions, rows.count, tap, width, acc);
                for (int r = 0; r < R; ++r)
                  for (int v = 0; v < NV; ++v) store(dw + j * TILE + r * PW + v * VL, v < V ? acc[r][v] : vf{});
              });
            }
          });
          const int64_t used = std::min<int64_t>(MR, p.group_outputs() - o) * PW;
          for_tiles<MR>(p.experts, [&]<int R>(int64_t from) {
            const float* rows[R];
            for (int r = 0; r < R; ++r) rows[r] = a + (from + r) * p.regions;
            for (int64_t at = 0; at < used; at += PW) {
              vf acc[R][NV];
              for (int r = 0; r < R; ++r)
                for (int v = 0; v < NV; ++v) acc[r][v] = load(sum_tile + (from + r) * TILE + at + v * VL);
              multiply(rows, p.regions, dw + at, TILE, acc);
              for (int r = 0; r < R; ++r)
                for (int v = 0; v < NV; ++v) store(sum_tile + (from + r) * TILE + at + v * VL, acc[r][v]);
            }
          });
        }
  }
  const float* sum_tile = sums;
  for (int64_t tap = 0; tap < p.taps(); ++tap)
    for (int64_t o_tile = o_tiles.from; o_tile < o_tiles.to; ++o_tile)
      for (int64_t panel = panels.from; panel < panels.to; ++panel)
        for (int64_t k = 0; k < p.experts; ++k, sum_tile += TILE)
          for (int64_t o = o_tile * MR; o < std::min((o_tile + 1) * MR, p.group_outputs()); ++o) {
            float* to = p.grad_filters + (k * p.outputs + group * p.group_outputs() + o) * w_row + tap;
            const float* row = sum_tile + (o - o_tile * MR) * PW;
            for (int64_t c = panel * PW; c < std::min((panel + 1) * PW, p.depth()); ++c)
              to[c * p.taps()] = row[c - panel * PW];
          }
}

void backward_filters(const Problem& p, int64_t threads, int64_t task, float* scratch) {
  const FilterCut cut(p, threads);
  if (p.experts) backward_experts(p, cut, task, scratch);
  else backward_filters_of_regions(p, cut, task);
}

}  // namespace
}  // namespace drbench
