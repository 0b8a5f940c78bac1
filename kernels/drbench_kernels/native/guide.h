// The guide: argmax of the logits, positions sorted by region, the gradient through the softmax.
#pragma once

#include <vector>

#include "common.h"

namespace drbench {
namespace {
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

}  // namespace
}  // namespace drbench
