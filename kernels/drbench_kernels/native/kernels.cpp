// The kernels, compiled once for every instruction set (DRBENCH_TABLE names the table that comes out: avx2).
//
// Everything is a product of small tiles held in registers (vector.h). A tile's rows are named by pointers, so that
// positions of one region need not lie side by side and no unfold is ever built: for a k x k filter the tile goes
// through the taps, each time with pointers to other pixels. Selection is by index, never by multiplying with a mask:
// a NaN at one position, or in one region's filter, reaches no other.
#include <algorithm>
#include <array>
#include <utility>
#include <vector>

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

// ---- forward -------------------------------------------------------------------------------------------------------

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

// ---- gradients of input and guide ----------------------------------------------------------------------------------

// A position as the gradient of the input sees it, at one tap: where its g begins, the pixel that the tap sees (null
// outside the image) and that pixel's gradient.
struct Row {
  const float* g;
  const float* x;
  float* dx;
  int64_t region;
};

// How u_j = W_j^T g becomes gradients: the scores, and grad_input where the position is of this region (filters), or
// everywhere with the position's coefficient (experts).
struct Input {
  int64_t filter;             // region j, or expert k
  const float* coefficients;  // of the sample, (m, K), with experts
  int64_t experts;
  bool scored;  // add <u, x> to the partial sums
  bool hard;    // positions all are of this region
  bool add;     // grad_input has something already
};

void find_rows(const Problem& p, int64_t sample, const int32_t* positions, int64_t count, int64_t tap, Row* rows) {
  const int64_t base = sample * p.height * p.width, first = sample * p.positions();
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = pixel(p, positions[i], tap), place = (base + at) * p.channels;
    rows[i].g = p.grad + (first + positions[i]) * p.outputs;
    rows[i].x = at < 0 ? nullptr : p.input + place;
    rows[i].dx = at < 0 ? nullptr : p.grad_input + place;
    rows[i].region = p.region[first + positions[i]];
  }
}

template <int R, int V>
void input_tile(const Input& in, const Row* rows, int64_t o, int64_t outputs, int64_t c, const float* panel,
                int64_t ldb, int width, vf* partial) {
  const float* a[R];
  for (int r = 0; r < R; ++r) a[r] = rows[r].g + o;
  vf acc[R][V] = {};
  multiply(a, outputs, panel, ldb, acc);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    if (!rows[r].x) continue;
    if (in.scored) {
      vf x[V];
      load_row(rows[r].x + c, width, x);
      for (int v = 0; v < V; ++v) partial[r] += acc[r][v] * x[v];
    }
    if (in.experts) {
      const float a_k = in.coefficients[rows[r].region * in.experts + in.filter];
      for (int v = 0; v < V; ++v) acc[r][v] *= splat(a_k);
    } else if (!in.hard && rows[r].region != in.filter) {
      continue;
    }
    if (in.add) {
      vf before[V];
      load_row(rows[r].dx + c, width, before);
      for (int v = 0; v < V; ++v) acc[r][v] += before[v];
    }
    store_row(rows[r].dx + c, width, acc[r]);
  }
}

// Pieces: blocks of positions where each has a pixel of its own; else (k x k: windows overlap) blocks of channels, each
// with scores of its own that are added up afterwards.
struct InputCut {
  int64_t rows, chunks;
  InputCut(const Problem& p, int64_t threads) {
    const bool own = p.taps() == 1;
    rows = own ? std::max(ceil_div(p.positions(), BLOCK), pieces(p.samples, ceil_div(p.positions(), 2 * MR), threads))
               : 1;
    chunks = own ? 1 : pieces(p.samples, std::min<int64_t>(ceil_div(p.depth(), PW), 16), std::min<int64_t>(threads, 4));
  }
  int64_t most_rows(const Problem& p) const { return ceil_div(p.positions(), rows); }
};

int64_t score_chunks(const Problem& p, int64_t threads) { return InputCut(p, threads).chunks; }

// A piece's scratch: a packed panel, partial scores, rows, and the positions that they are of.
struct InputScratch {
  float* panel;
  vf* partial;
  Row* rows;
  int32_t* positions;
  int64_t size;
  InputScratch(const Problem& p, const InputCut& cut, float* start) {
    const int64_t count = padded(cut.most_rows(p) + 1), floats_of_row = sizeof(Row) / sizeof(float);
    panel = start;
    partial = reinterpret_cast<vf*>(panel + p.group_outputs() * PW);
    rows = reinterpret_cast<Row*>(partial + count);
    positions = reinterpret_cast<int32_t*>(rows + count);
    size = p.group_outputs() * PW + count * (VL + floats_of_row + 1);
  }
};

Plan plan_backward_input(const Problem& p, int64_t threads) {
  const InputCut cut(p, threads);
  return {p.samples * cut.rows * cut.chunks, InputScratch(p, cut, nullptr).size};
}

// Through one filter (j or k): all of `count` positions, channels [channels.from, channels.to) of every group.
void through_filter(const Problem& p, const Input& in, int64_t sample, const int32_t* positions, int64_t count,
                    const Span& channels, const InputScratch& scratch, bool rows_are_known) {
  const int64_t w_row = p.depth() * p.taps(), per_sample = p.experts || p.shared_filters ? 0 : p.regions;
  const int64_t outputs = p.group_outputs();
  const float* w_all = p.filters + (sample * per_sample + in.filter) * p.filter_size();
  const auto panel = [&](int64_t tap, int64_t group, int64_t c) {
    const int64_t width = std::min<int64_t>(PW, channels.to - c);
    const float* w = w_all + group * outputs * w_row + c * p.taps() + tap;
    int64_t ldb = w_row;
    if (p.taps() > 1 || width % VL) {  // else the filter itself is such a panel
      ldb = padded(width);
      pack_inputs(w, outputs, w_row, p.taps(), width, scratch.panel);
      w = scratch.panel;
    }
    with_vectors(width, [&]<int V>() {
      for_tiles<rows_for(V)>(count, [&]<int R>(int64_t from) {
        input_tile<R, V>(in, scratch.rows + from, group * outputs, outputs, group * p.depth() + c, w, ldb,
                         static_cast<int>(width), scratch.partial + from);
      });
    });
  };
  const auto look = [&](int64_t tap) {
    if (p.taps() > 1 || !rows_are_known) find_rows(p, sample, positions, count, tap, scratch.rows);
  };
  if (p.filter_size() <= CACHED) {
    for (int64_t tap = 0; tap < p.taps(); ++tap) {
      look(tap);
      for (int64_t group = 0; group < p.groups; ++group)
        for (int64_t c = channels.from; c < channels.to; c += PW) panel(tap, group, c);
    }
    return;
  }
  for (int64_t group = 0; group < p.groups; ++group)  // all taps of some channels lie side by side: read them once
    for (int64_t c = channels.from; c < channels.to; c += PW)
      for (int64_t tap = 0; tap < p.taps(); ++tap) {
        if (p.taps() > 1 || (group == 0 && c == channels.from)) look(tap);
        panel(tap, group, c);
      }
}

void backward_input(const Problem& p, int64_t threads, int64_t task, bool all_regions, float* start) {
  const InputCut cut(p, threads);
  const InputScratch scratch(p, cut, start);
  const int64_t chunk = task % cut.chunks, piece = task / cut.chunks % cut.rows, sample = task / cut.chunks / cut.rows;
  const Span span(p.positions(), cut.rows, piece);
  const Span panels(ceil_div(p.depth(), PW), cut.chunks, chunk);
  Span channels(0, 1, 0);
  channels.from = panels.from * PW;
  channels.to = std::min(panels.to * PW, p.depth());
  if (!all_regions && !p.experts) {
    for (int64_t j = 0; j < p.regions; ++j) {
      const Rows rows(p, sample, j, span);
      const Input in{j, nullptr, 0, false, true, p.taps() > 1};
      if (rows.count) through_filter(p, in, sample, rows.positions, rows.count, channels, scratch, false);
    }
    return;
  }
  for (int64_t i = 0; i < span.size(); ++i) scratch.positions[i] = static_cast<int32_t>(span.from + i);
  const float* coefficients = p.experts ? p.coefficients + sample * p.regions * p.experts : nullptr;
  const int64_t filters = p.experts ? p.experts : p.regions;
  for (int64_t f = 0; f < filters; ++f) {
    for (int64_t i = 0; i < span.size(); ++i) scratch.partial[i] = vf{};
    const Input in{f, coefficients, p.experts, true, false, p.taps() > 1 || (p.experts && f > 0)};
    through_filter(p, in, sample, scratch.positions, span.size(), channels, scratch, f > 0);
    float* scores = p.scores + ((chunk * p.samples + sample) * filters + f) * p.positions() + span.from;
    const vf* partial = scratch.partial;
    int64_t i = 0;
    for (; i + 4 <= span.size(); i += 4)
      four_sums(partial[i], partial[i + 1], partial[i + 2], partial[i + 3], scores + i);
    for (; i < span.size(); ++i) scores[i] = sum(partial[i]);
  }
}

// ---- gradients of the filters --------------------------------------------------------------------------------------

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

// The regions' scores from the experts', of one sample: dF~_j = sum_k a_jk s_k.
void mix_scores(const Problem& p, int64_t sample, float* mixed) {
  const int64_t positions = p.positions();
  const float* scores = p.scores + sample * p.experts * positions;
  for (int64_t j = 0; j < p.regions; ++j) {
    const float* a = p.coefficients + (sample * p.regions + j) * p.experts;
    float* out = mixed + (sample * p.regions + j) * positions;
    mix(&a, 1, p.experts, scores, positions, positions, &out);
  }
}

// ---- the guide -----------------------------------------------------------------------------------------------------

// VL positions' logits of one position after the other, (VL, m) -> block (m, VL).
void turn_logits(const float* logits, int64_t regions, float* block) {
  for (int64_t j = 0; j < regions; j += VL) {
    const int some = static_cast<int>(std::min<int64_t>(VL, regions - j));
    if (some == VL) {
      transpose(logits + j, regions, [&](int i) { return block + (j + i) * VL; });
      continue;
    }
    float rows[VL * VL], turned[VL * VL];
    for (int i = 0; i < VL; ++i) store(rows + i * VL, load_first(logits + i * regions + j, some));
    transpose(rows, VL, [&](int i) { return turned + i * VL; });
    std::memcpy(block + j * VL, turned, sizeof(float) * some * VL);
  }
}

constexpr int64_t TURNED = 64;  // regions whose logits are turned in a block on the stack; more are read one by one

// As torch.argmax: ties go to the lowest, NaN is larger than anything.
vi argmax_of_planes(const float* logits, int64_t regions, int64_t plane) {
  vf best = load(logits);
  vi found{};
  for (int32_t j = 1; j < regions; ++j) {
    const vf value = load(logits + j * plane);
    const vi better = ~(value <= best) & (best == best);
    best = (vf)((better & (vi)value) | (~better & (vi)best));
    found = (better & j) | (~better & found);
  }
  return found;
}

void argmax(const float* logits, int64_t regions, int64_t positions, int64_t region_stride, int64_t position_stride,
            int32_t* region) {
  int64_t p = 0;
  float block[TURNED * VL];
  if (position_stride == 1 || regions <= TURNED)
    for (; p + VL <= positions; p += VL) {
      if (position_stride != 1) turn_logits(logits + p * position_stride, regions, block);
      const vi found = position_stride == 1 ? argmax_of_planes(logits + p, regions, region_stride)
                                            : argmax_of_planes(block, regions, VL);
      std::memcpy(region + p, &found, sizeof found);
    }
  for (; p < positions; ++p) {
    const float* at = logits + p * position_stride;
    float best = at[0];
    int32_t found = 0;
    for (int32_t j = 1; j < regions; ++j) {
      const float value = at[j * region_stride];
      const bool better = !(value <= best) && best == best;
      best = better ? value : best;
      found = better ? j : found;
    }
    region[p] = found;
  }
}

// Four stretches of positions are counted and placed side by side: neighbours mostly are of one region, and counting
// one after the other would wait for the counter each time.
void sort(const int32_t* region, int64_t regions, int64_t positions, int32_t* order, int32_t* starts) {
  constexpr int64_t STRETCHES = 4;
  std::vector<int32_t> counts(STRETCHES * regions);
  const int64_t length = positions / STRETCHES;  // the last one has the rest
  const auto each = [&](const auto& f) {
    for (int64_t i = 0; i < length; ++i)
      for (int64_t s = 0; s < STRETCHES; ++s) f(s, s * length + i);
    for (int64_t i = STRETCHES * length; i < positions; ++i) f(STRETCHES - 1, i);
  };
  each([&](int64_t s, int64_t i) { ++counts[s * regions + region[i]]; });
  int32_t total = 0;
  for (int64_t j = 0; j < regions; ++j) {
    starts[j] = total;
    for (int64_t s = 0; s < STRETCHES; ++s) total += std::exchange(counts[s * regions + j], total);
  }
  starts[regions] = total;
  each([&](int64_t s, int64_t i) { order[counts[s * regions + region[i]]++] = static_cast<int32_t>(i); });
}

void guide_gradient(const Problem& p, int64_t chunks, const float* logits, int64_t region_stride,
                    int64_t position_stride, int64_t sample, int64_t from, int64_t to, float* grad_guide) {
  const int64_t positions = p.positions(), planes = p.regions * positions;
  const float* scores = p.scores + sample * planes;
  float* out = grad_guide + sample * planes;
  float block[TURNED * VL];
  for (int64_t at = from; at < to; at += VL) {
    const int count = static_cast<int>(std::min<int64_t>(VL, to - at));
    const bool turned = position_stride != 1 && count == VL && p.regions <= TURNED;
    if (turned) turn_logits(logits + at * position_stride, p.regions, block);
    const auto logit = [&](int64_t j) {
      if (turned) return load(block + j * VL);
      const float* l = logits + j * region_stride + at * position_stride;
      if (position_stride == 1) return count == VL ? load(l) : load_first(l, count);
      vf v{};
      for (int i = 0; i < count; ++i) v[i] = l[i * position_stride];
      return v;
    };
    const auto score = [&](int64_t j) {
      vf total{};
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const float* s = scores + chunk * p.samples * planes + j * positions + at;
        total += count == VL ? load(s) : load_first(s, count);
      }
      return total;
    };
    const auto keep = [&](int64_t j, vf v) {
      float* o = out + j * positions + at;
      if (count == VL) store(o, v);
      else store_first(o, v, count);
    };
    vf largest = logit(0);
    for (int64_t j = 1; j < p.regions; ++j) {
      const vf value = logit(j);
      const vi better = ~(value <= largest);  // NaN stays: the softmax of such a position is NaN
      largest = (vf)((better & (vi)value) | (~better & (vi)largest));
    }
    vf total{}, mean{};
    for (int64_t j = 0; j < p.regions; ++j) {
      const vf e = exp_of_negative(logit(j) - largest);
      keep(j, e);
      total += e;
      mean += e * score(j);
    }
    const vf inverse = splat(1.0f) / total;
    mean *= inverse;
    for (int64_t j = 0; j < p.regions; ++j) {
      const float* o = out + j * positions + at;
      const vf e = count == VL ? load(o) : load_first(o, count);
      keep(j, e * inverse * (score(j) - mean));
    }
  }
}

// ---- a whole layer's choices: guide, pooling, routing ----------------------------------------------------------------

int64_t guide_panels(const Problem& p) { return ceil_div(p.outputs, PW) * panel_size(p); }

void pack_guide(const Problem& p, float* panels) {
  for (int64_t j = 0; j < p.outputs; j += PW, panels += panel_size(p))
    pack_outputs(p.filters + j * p.depth() * p.taps(), p.depth(), p.taps(), std::min<int64_t>(PW, p.outputs - j), panels);
}

// The guide's convolution (`p`: its m outputs into p.output) and the argmax of every position in `positions`.
void guide(const Problem& p, int64_t sample, const int32_t* positions, int64_t count, const float* panels,
           int32_t* region) {
  float* logits = p.output + sample * p.positions() * p.outputs;
  for (int64_t j = 0; j < p.outputs; j += PW, panels += panel_size(p))
    forward_panel(p, image(p, sample), positions, count, panels, nullptr, std::min<int64_t>(PW, p.outputs - j),
                  logits + j);
  const int64_t first = positions[0];
  argmax(logits + first * p.outputs, p.outputs, count, 1, p.outputs, region + sample * p.positions() + first);
}

// sums[c] = the sum of the pixels [from, to) of one image.
void pool(const Problem& p, int64_t sample, int64_t from, int64_t to, float* sums) {
  const float* x = image(p, sample);
  for (int64_t c = 0; c < p.channels; c += PW) {
    const int width = static_cast<int>(std::min<int64_t>(PW, p.channels - c));
    with_vectors(width, [&]<int V>() {
      vf total[V] = {};
      for (int64_t i = from; i < to; ++i) {
        vf row[V];
        load_row(x + i * p.channels + c, width, row);
        for (int v = 0; v < V; ++v) total[v] += row[v];
      }
      store_row(sums + c, width, total);
    });
  }
}

// a[i] = 2 / K * sigmoid(<w_i, pooled> + b_i) for i in 0..m*K: the coefficients of one sample.
void coefficients(const float* pooled, int64_t channels, const float* w, const float* b, int64_t count, int64_t experts,
                  float* a) {
  for (int64_t i = 0; i < count; ++i) {
    vf lanes{};
    int64_t c = 0;
    for (; c + VL <= channels; c += VL) lanes += load(w + i * channels + c) * load(pooled + c);
    if (c < channels) {
      const int rest = static_cast<int>(channels - c);
      lanes += load_first(w + i * channels + c, rest) * load_first(pooled + c, rest);
    }
    a[i] = sum(lanes) + b[i];
  }
  for (int64_t i = 0; i < count; i += VL) {
    const int width = static_cast<int>(std::min<int64_t>(VL, count - i));
    vf row[1];
    load_row(a + i, width, row);
    const vi negative = row[0] < vf{};
    const vf size = (vf)((negative & (vi)(-row[0])) | (~negative & (vi)row[0]));
    const vf e = exp_of_negative(-size), small = e / (e + 1.0f), large = 1.0f / (e + 1.0f);
    row[0] = (vf)((negative & (vi)small) | (~negative & (vi)large)) * splat(2.0f / static_cast<float>(experts));
    store_row(a + i, width, row);
  }
}

}  // namespace

#define DRBENCH_TEXT_OF(x) #x
#define DRBENCH_TEXT(x) DRBENCH_TEXT_OF(x)
#define DRBENCH_NAME_OF(table) table##_kernels
#define DRBENCH_NAME(table) DRBENCH_NAME_OF(table)

const Kernels DRBENCH_NAME(DRBENCH_TABLE) = {DRBENCH_TEXT(DRBENCH_TABLE),
                                             find_pixels,
                                             shared_scratch,
                                             prepare_pieces,
                                             prepare_forward,
                                             plan_forward,
                                             forward,
                                             score_chunks,
                                             plan_backward_input,
                                             backward_input,
                                             plan_backward_filters,
                                             backward_filters,
                                             mix_scores,
                                             sort,
                                             argmax,
                                             guide_gradient,
                                             guide_panels,
                                             pack_guide,
                                             guide,
                                             pool,
                                             coefficients};

}  // namespace drbench
