// Backward: u_j = W_j^T g for every region (or expert) gives the scores and the gradient of the input.
#pragma once

#include "forward.h"

namespace drbench {
namespace {
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

}  // namespace
}  // namespace drbench
