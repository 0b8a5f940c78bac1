// Forward: the rows of one region through its filter, packed or as it lies in memory; filters mixed from experts.
#pragma once

#include "common.h"

namespace drbench {
namespace {
// y of R positions and `width` outputs from a packed panel. Looks at the R positions behind, to have them brought.
template <int R, int V>
void forward_tile(const Problem& p, const float* x, const int32_t* positions, const float* panel, const float* bias,
                  int64_t width, float* y) {
  vf acc[R][V];
  vf first[V] = {};
  if (bias) load_row(bias, static_cast<int>(width), first);
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) acc[r][v] = first[v];
  const int64_t depth = p.depth(), columns = padded(width);
  const float* a[R];
  if (p.pointwise) {
    for (int r = 0; r < R; ++r) {
      a[r] = x + positions[r] * p.channels;
      // A region's runs end in the middle of memory pages: the processor's own prefetching stops there.
      const float* next = x + positions[r + R] * p.channels;
      __builtin_prefetch(next);
      __builtin_prefetch(next + 16);
    }
    multiply(a, depth, panel, columns, acc);
  } else {
    for (int64_t tap = 0; tap < p.taps(); ++tap, panel += depth * columns) {
      for (int r = 0; r < R; ++r) {
        const int64_t at = pixel(p, positions[r], tap);
        a[r] = at < 0 ? p.zeros : x + at * p.channels;
      }
      multiply(a, depth, panel, columns, acc);
    }
  }
  for (int r = 0; r < R; ++r) store_row(y + positions[r] * p.outputs, static_cast<int>(width), acc[r]);
}

// All rows of one region through one packed panel.
void forward_panel(const Problem& p, const float* x, const int32_t* positions, int64_t count, const float* panel,
                   const float* bias, int64_t width, float* y) {
  with_vectors(width, [&]<int V>() {
    for_tiles<rows_for(V)>(
        count, [&]<int R>(int64_t from) { forward_tile<R, V>(p, x, positions + from, panel, bias, width, y); });
  });
}

// y of R positions and O outputs from filters as they are, rows of `depth` floats: nothing is packed.
template <int R, int O>
void forward_dots(const Problem& p, const float* x, const int32_t* positions, const float* w, const float* bias,
                  float* y) {
  vf acc[R][O] = {};
  const float* a[R];
  for (int r = 0; r < R; ++r) {
    const int64_t at = pixel(p, positions[r], 0);
    a[r] = at < 0 ? p.zeros : x + at * p.channels;
  }
  dot(a, w, p.depth(), p.depth(), acc);
  float sums[(R * O + 3) / 4 * 4];
  const vf* flat = &acc[0][0];
  const vf none{};
#pragma GCC unroll 16
  for (int i = 0; i < R * O; i += 4)
    four_sums(flat[i], i + 1 < R * O ? flat[i + 1] : none, i + 2 < R * O ? flat[i + 2] : none,
              i + 3 < R * O ? flat[i + 3] : none, sums + i);
  for (int r = 0; r < R; ++r)
    for (int o = 0; o < O; ++o) y[positions[r] * p.outputs + o] = sums[r * O + o] + (bias ? bias[o] : 0.0f);
}

// Outputs of a tile of dots: as many accumulators as registers allow, whatever the number of rows.
constexpr int outputs_for(int rows) { return std::clamp(MR * NV / rows, NV, 8); }

void forward_rows(const Problem& p, const float* x, const int32_t* positions, int64_t count, const float* w,
                  const float* bias, int64_t outputs, float* y) {
  constexpr int64_t STEP = 24;  // filters that stay in the first-level cache while a region's rows go by
  for (int64_t start = 0; start < outputs; start += STEP)
    for_tiles<MR>(count, [&]<int R>(int64_t from) {
      const int64_t end = std::min(start + STEP, outputs);
      int64_t o = start;
      const auto some = [&]<int O>() {
        for (; o + O <= end; o += O)
          forward_dots<R, O>(p, x, positions + from, w + o * p.depth(), bias ? bias + o : nullptr, y + o);
      };
      some.template operator()<outputs_for(R)>();
      some.template operator()<NV>();
      some.template operator()<1>();
    });
}

// Packing a filter costs about as much as the sums over the lanes of as many rows as a sixteenth of its depth.
bool dots_are_cheaper(const Problem& p, int64_t rows) {
  return p.taps() == 1 && p.depth() >= VL && 16 * rows < p.depth();
}

struct ForwardCut {
  int64_t groups, regions, chunks, rows;
  ForwardCut(const Problem& p, int64_t threads) {
    groups = p.groups;
    rows = ceil_div(p.positions(), ROWS);
    regions = p.experts ? 1 : p.regions;
    const int64_t panels = ceil_div(p.group_outputs(), PW);
    chunks = p.experts ? panels : pieces(p.samples * groups * rows, panels, threads);
  }
  int64_t tasks(const Problem& p) const { return p.samples * groups * regions * chunks * rows; }
};

constexpr int64_t STRIP = 8;  // outputs whose filters are mixed at once where nothing is packed

// Experts are packed once for the batch, unless so few positions use them that dots are cheaper.
bool experts_are_packed(const Problem& p) {
  const bool dots = p.taps() == 1 && p.depth() >= VL && 8 * p.samples * p.positions() < p.experts * p.depth();
  return p.experts && !dots;
}

int64_t panel_size(const Problem& p) { return p.depth() * p.taps() * PW; }

int64_t shared_scratch(const Problem& p) {
  if (!experts_are_packed(p)) return 0;
  return p.groups * ceil_div(p.group_outputs(), PW) * p.experts * panel_size(p);
}

int64_t prepare_pieces(const Problem& p) {
  return experts_are_packed(p) ? p.groups * ceil_div(p.group_outputs(), PW) * p.experts : 0;
}

// shared: [group][panel][k][tap][c][width of the panel]
void prepare_forward(const Problem& p, int64_t piece, float* shared) {
  const int64_t panels = ceil_div(p.group_outputs(), PW);
  const int64_t k = piece % p.experts, panel = piece / p.experts % panels, group = piece / p.experts / panels;
  const int64_t o = panel * PW, width = std::min<int64_t>(PW, p.group_outputs() - o);
  const float* w = p.filters + (k * p.outputs + group * p.group_outputs() + o) * p.depth() * p.taps();
  float* start = shared + (group * panels + panel) * p.experts * panel_size(p);
  pack_outputs(w, p.depth(), p.taps(), width, start + k * p.depth() * p.taps() * padded(width));
}

Plan plan_forward(const Problem& p, int64_t threads) {
  const ForwardCut cut(p, threads);
  const int64_t panels = ceil_div(p.group_outputs(), PW);
  int64_t scratch = ceil_div(panels, cut.chunks) * panel_size(p);
  if (p.experts) scratch = p.regions * (experts_are_packed(p) ? panel_size(p) : STRIP * p.depth());
  return {cut.tasks(p), scratch};
}

// Positions of region j among a piece's rows: [from, to) of `order`.
struct Rows {
  const int32_t* positions;
  int64_t count;
  Rows(const Problem& p, int64_t sample, int64_t region, const Span& piece) {
    const int32_t* starts = p.starts + sample * (p.regions + 1);
    const int64_t from = std::max<int64_t>(starts[region], piece.from);
    const int64_t to = std::min<int64_t>(starts[region + 1], piece.to);
    positions = p.order + sample * p.positions() + from;
    count = std::max<int64_t>(to - from, 0);
  }
};

// out[j][:] = sum_k a[j][k] e[k][:], `columns` floats: a product of the coefficients with the experts.
void mix(const float* const* a, int64_t rows, int64_t experts, const float* e, int64_t stride, int64_t columns,
         float* const* out) {
  for_tiles<MR>(rows, [&]<int R>(int64_t from) {
    int64_t c = 0;
    for (; c + PW <= columns; c += PW) {
      vf acc[R][NV] = {};
      multiply(a + from, experts, e + c, stride, acc);
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < NV; ++v) store(out[from + r] + c + v * VL, acc[r][v]);
    }
    for (; c + VL <= columns; c += VL) {
      vf acc[R][1] = {};
      multiply(a + from, experts, e + c, stride, acc);
      for (int r = 0; r < R; ++r) store(out[from + r] + c, acc[r][0]);
    }
    for (; c < columns; ++c)
      for (int r = 0; r < R; ++r) {
        float total = 0.0f;
        for (int64_t k = 0; k < experts; ++k) total += a[from + r][k] * e[k * stride + c];
        out[from + r][c] = total;
      }
  });
}

void forward_of_experts(const Problem& p, const ForwardCut& cut, int64_t task, const float* shared, float* scratch) {
  const int64_t panel = task % cut.chunks, group = task / cut.chunks % cut.groups;
  const int64_t piece = task / cut.chunks / cut.groups % cut.rows, sample = task / cut.chunks / cut.groups / cut.rows;
  const Span span(p.positions(), cut.rows, piece);
  const float* x = image(p, sample) + group * p.depth();
  const bool packed = experts_are_packed(p);
  const int64_t step = packed ? PW : STRIP;
  const int64_t end = std::min<int64_t>((panel + 1) * PW, p.group_outputs());
  for (int64_t o = panel * PW; o < end; o += step) {
    const int64_t width = std::min(step, end - o), o_all = group * p.group_outputs() + o;
    const int64_t size = p.depth() * p.taps() * (packed ? padded(width) : width);
    const float* experts = packed ? shared + (group * cut.chunks + panel) * p.experts * panel_size(p)
                                  : p.filters + o_all * p.depth();
    // Regions that have rows in this piece; 64 at a time, so that no number of them needs memory of its own.
    for (int64_t j = 0; j < p.regions;) {
      const float* a[64];
      float* mixed[64];
      int64_t which[64], found = 0;
      for (; j < p.regions && found < 64; ++j) {
        if (!Rows(p, sample, j, span).count) continue;
        a[found] = p.coefficients + (sample * p.regions + j) * p.experts;
        mixed[found] = scratch + found * size;
        which[found++] = j;
      }
      mix(a, found, p.experts, experts, packed ? size : p.filter_size(), size, mixed);
      for (int64_t i = 0; i < found; ++i) {
        const Rows rows(p, sample, which[i], span);
        const float* bias = p.bias ? p.bias + o_all : nullptr;
        float* y = p.output + sample * p.positions() * p.outputs + o_all;
        if (packed) forward_panel(p, x, rows.positions, rows.count, mixed[i], bias, width, y);
        else forward_rows(p, x, rows.positions, rows.count, mixed[i], bias, width, y);
      }
    }
  }
}

void forward(const Problem& p, int64_t threads, int64_t task, const float* shared, float* scratch) {
  const ForwardCut cut(p, threads);
  if (p.experts) return forward_of_experts(p, cut, task, shared, scratch);
  const int64_t chunk = task % cut.chunks, region = task / cut.chunks % cut.regions;
  const int64_t group = task / cut.chunks / cut.regions % cut.groups;
  const int64_t piece = task / cut.chunks / cut.regions / cut.groups % cut.rows;
  const int64_t sample = task / cut.chunks / cut.regions / cut.groups / cut.rows;
  const Rows rows(p, sample, region, Span(p.positions(), cut.rows, piece));
  if (!rows.count) return;
  const Span panels(ceil_div(p.group_outputs(), PW), cut.chunks, chunk);
  const int64_t o_from = panels.from * PW, o_to = std::min(panels.to * PW, p.group_outputs());
  const int64_t o_all = group * p.group_outputs(), w_row = p.depth() * p.taps();
  const float* x = image(p, sample) + group * p.depth();
  const float* w = p.filters + ((p.shared_filters ? 0 : sample * p.regions) + region) * p.filter_size() + o_all * w_row;
  const float* bias = p.bias ? p.bias + o_all : nullptr;
  float* y = p.output + sample * p.positions() * p.outputs + o_all;
  if (dots_are_cheaper(p, rows.count)) {
    forward_rows(p, x, rows.positions, rows.count, w + o_from * w_row, bias ? bias + o_from : nullptr, o_to - o_from,
                 y + o_from);
    return;
  }
  // Panels that fit the second-level cache are packed once, and the rows go through all of them a block at a time, so
  // that their outputs are written whole. Larger filters go by one panel at a time, through which all rows go.
  const bool fits = panel_size(p) * panels.size() <= CACHED;
  const int64_t block = fits ? 16 * MR : rows.count;
  for (int64_t start = 0; start < rows.count; start += block)
    for (int64_t o = o_from; o < o_to; o += PW) {
      const int64_t width = std::min<int64_t>(PW, o_to - o), count = std::min(block, rows.count - start);
      float* panel = fits ? scratch + (o - o_from) / PW * panel_size(p) : scratch;
      if (start == 0) pack_outputs(w + o * w_row, p.depth(), p.taps(), width, panel);
      forward_panel(p, x, rows.positions + start, count, panel, bias ? bias + o : nullptr, width, y + o);
    }
}

}  // namespace
}  // namespace drbench
