// What a region convolution on the CPU is given, and the kernels that exist once for every instruction set.
//
// All tensors are float32. Images are channels_last: x[n, row, column, c], y and g[n, position, o]; positions are those
// of the output, row by row. Filters are as PyTorch has them: w[n, j, o, c, tap], and experts e[k, o, c, tap].
#pragma once

#include <cstdint>

namespace drbench {

struct Problem {
  int64_t samples, regions, experts;      // N, m, K (experts: 0 where filters are given)
  int64_t channels, outputs, groups;      // C, O, G
  int64_t height, width;                  // of the input
  int64_t out_height, out_width;          // of the output
  int64_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;

  const float* input;    // (N, H, W, C)
  const float* filters;  // (N or 1, m, O, C/G, taps), or the experts (K, O, C/G, taps)
  bool shared_filters;   // one set for the batch
  bool pointwise;        // every position sees the pixel of its own number, and no other
  const float* packed;        // depthwise: filters as depthwise.h packs them; else null
  const float* coefficients;  // (N, m, K), with experts only
  const float* bias;          // (O), or null
  const float* grad;          // (N, P, O)
  const float* zeros;         // C zeros: what a tap outside the image sees (null where pointwise)

  const int32_t* pixels;  // (taps, P): the pixel that a position's filter sees at a tap, -1 outside (null where pointwise)
  const int32_t* region;  // (N, P): the region of every position
  const int32_t* order;   // (N, P): positions sorted by region, and within one by place
  const int32_t* starts;  // (N, m + 1): where each region begins in `order`

  float* output;             // (N, P, O)
  float* grad_input;         // (N, H, W, C)
  float* grad_filters;       // as filters
  float* grad_coefficients;  // as coefficients
  float* scores;             // (chunks, N, m or K, P): <g, W_j x> of every region, or <g, E_k x> of every expert

  int64_t positions() const { return out_height * out_width; }
  int64_t taps() const { return kernel_h * kernel_w; }
  int64_t depth() const { return channels / groups; }          // input channels a filter sees
  int64_t group_outputs() const { return outputs / groups; }
  int64_t filter_size() const { return outputs * depth() * taps(); }
};

// How many pieces an op is cut into, and how many floats each thread needs beside its tensors. The pieces write
// disjoint parts of the result, each in an order of its own that depends on the shapes alone: two runs are equal.
struct Plan {
  int64_t tasks;
  int64_t scratch;
};

// The three passes. Depthwise has its own, without experts: their filters are mixed beforehand, being small.
struct Steps {
  Plan (*plan_forward)(const Problem&, int64_t threads);
  void (*forward)(const Problem&, int64_t threads, int64_t task, const float* shared, float* scratch);

  // grad_input, and scores where they are wanted (a guide that learns, or experts); `chunks` of scores are to be added.
  int64_t (*score_chunks)(const Problem&, int64_t threads);
  Plan (*plan_backward_input)(const Problem&, int64_t threads);
  void (*backward_input)(const Problem&, int64_t threads, int64_t task, bool all_regions, float* scratch);

  Plan (*plan_backward_filters)(const Problem&, int64_t threads);
  void (*backward_filters)(const Problem&, int64_t threads, int64_t task, float* scratch);
};

struct Kernels {
  const char* name;
  void (*find_pixels)(const Problem&, int32_t* pixels);
  // Floats that all pieces share, prepared by prepare_forward in `pieces` parallel pieces; 0 where nothing is shared.
  int64_t (*shared_scratch)(const Problem&);
  int64_t (*prepare_pieces)(const Problem&);
  void (*prepare_forward)(const Problem&, int64_t piece, float* shared);

  Steps dense, depthwise;
  int64_t (*packed_size)(const Problem&);  // floats of one packed depthwise filter
  void (*pack)(const Problem&, int64_t filter, float* packed);

  // With experts, per sample: (m, P) scores of the regions from those of the experts.
  void (*mix_scores)(const Problem&, int64_t sample, float* mixed);

  // Positions sorted by region, stable, of one sample: see `order` and `starts`.
  void (*sort)(const int32_t* region, int64_t regions, int64_t positions, int32_t* order, int32_t* starts);
  // Per sample: the region of every position from logits (m, P) or (P, m), and positions sorted by region.
  void (*argmax)(const float* logits, int64_t regions, int64_t positions, int64_t region_stride, int64_t position_stride,
                 int32_t* region);
  // The gradient of the logits from the scores of positions [from, to): F~ (dF~ - sum_k F~_k dF~_k), F~ = softmax(F).
  void (*guide_gradient)(const Problem&, int64_t chunks, const float* logits, int64_t region_stride,
                         int64_t position_stride, int64_t sample, int64_t from, int64_t to, float* grad_guide);

  // What a layer does before it convolves. The Problem is that of the guide's convolution, m its outputs.
  int64_t (*guide_panels)(const Problem&);  // floats of its packed filters
  void (*pack_guide)(const Problem&, float* panels);
  // Logits of consecutive positions into `output`, and their argmax.
  void (*guide)(const Problem&, int64_t sample, const int32_t* positions, int64_t count, const float* panels,
                int32_t* region);
  void (*pool)(const Problem&, int64_t sample, int64_t from, int64_t to, float* sums);
  void (*coefficients)(const float* pooled, int64_t channels, const float* w, const float* b, int64_t count,
                       int64_t experts, float* a);
};

extern const Kernels avx2_kernels, avx512_kernels, neon_kernels;

}  // namespace drbench
