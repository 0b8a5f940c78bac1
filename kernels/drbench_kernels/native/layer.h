// What a whole layer does before it convolves: the guide's convolution, pooling, routing.
#pragma once

#include "forward.h"
#include "guide.h"

namespace drbench {
namespace {
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
}  // namespace drbench
