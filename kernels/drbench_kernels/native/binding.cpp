// The torch ops on the CPU: tensors in, pieces of work over torch's own threads, tensors out.
//
// float32 is computed as it is; bfloat16 and float16 in float32, rounded once at the end. Anything else (float64), and
// everything while `drbench_native::use(False)` holds, goes to the ops of the same names with `_by_torch` behind.
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <numeric>
#include <string>

#include "check.h"
#include "work.h"

namespace {

template <typename Result, typename... Arguments>
Result by_torch(const char* name, Arguments... arguments) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Result(Arguments...)>().call(arguments...);
}

#define DRBENCH_GEOMETRY                                                                    \
  c10::SymIntArrayRef(c10::fromIntArrayRefSlow(stride)), c10::fromIntArrayRefSlow(padding), \
      c10::fromIntArrayRefSlow(dilation), c10::SymInt(groups)

Tensor region_conv2d(const Tensor& input, const Tensor& filters, const Tensor& guide, const std::optional<Tensor>& bias,
                     IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation, int64_t groups) {
  check_call(input, "filters", filters, std::nullopt, guide, bias, std::nullopt, stride, padding, dilation, groups);
  if (!computes(input) || !guide.numel() || !filters.numel())
    return by_torch<Tensor, const Tensor&, const Tensor&, const Tensor&, const std::optional<Tensor>&,
                    c10::SymIntArrayRef, c10::SymIntArrayRef, c10::SymIntArrayRef, c10::SymInt>(
        "drbench::region_conv2d_by_torch", input, filters, guide, bias, DRBENCH_GEOMETRY);
  return Work(input, filters, std::nullopt, guide, bias, stride, padding, dilation, groups).forward(input);
}

Three region_conv2d_backward(const Tensor& grad, const Tensor& input, const Tensor& filters, const Tensor& guide,
                             IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation, int64_t groups,
                             bool guide_learns) {
  check_call(input, "filters", filters, std::nullopt, guide, std::nullopt, grad, stride, padding, dilation, groups);
  if (!computes(input) || !guide.numel() || !filters.numel())
    return by_torch<Three, const Tensor&, const Tensor&, const Tensor&, const Tensor&, c10::SymIntArrayRef,
                    c10::SymIntArrayRef, c10::SymIntArrayRef, c10::SymInt, bool>(
        "drbench::region_conv2d_backward_by_torch", grad, input, filters, guide, DRBENCH_GEOMETRY, guide_learns);
  Work work(input, filters, std::nullopt, guide, std::nullopt, stride, padding, dilation, groups);
  work.take_gradient(grad);
  auto dx = work.backward_input(input, guide_learns);
  auto df = guide_learns ? work.backward_guide(guide) : at::empty({0}, guide.options());
  return {dx, work.backward_filters(filters), df};
}

Tensor expert_region_conv2d(const Tensor& input, const Tensor& experts, const Tensor& coefficients,
                            const Tensor& guide, const std::optional<Tensor>& bias, IntArrayRef stride,
                            IntArrayRef padding, IntArrayRef dilation, int64_t groups) {
  check_call(input, "experts", experts, coefficients, guide, bias, std::nullopt, stride, padding, dilation, groups);
  if (!computes(input) || !guide.numel() || !experts.numel())
    return by_torch<Tensor, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const std::optional<Tensor>&,
                    c10::SymIntArrayRef, c10::SymIntArrayRef, c10::SymIntArrayRef, c10::SymInt>(
        "drbench::expert_region_conv2d_by_torch", input, experts, coefficients, guide, bias, DRBENCH_GEOMETRY);
  return Work(input, experts, coefficients, guide, bias, stride, padding, dilation, groups).forward(input);
}

Four expert_region_conv2d_backward(const Tensor& grad, const Tensor& input, const Tensor& experts,
                                   const Tensor& coefficients, const Tensor& guide, IntArrayRef stride,
                                   IntArrayRef padding, IntArrayRef dilation, int64_t groups, bool guide_learns) {
  check_call(input, "experts", experts, coefficients, guide, std::nullopt, grad, stride, padding, dilation, groups);
  if (!computes(input) || !guide.numel() || !experts.numel())
    return by_torch<Four, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                    c10::SymIntArrayRef, c10::SymIntArrayRef, c10::SymIntArrayRef, c10::SymInt, bool>(
        "drbench::expert_region_conv2d_backward_by_torch", grad, input, experts, coefficients, guide, DRBENCH_GEOMETRY,
        guide_learns);
  Work work(input, experts, coefficients, guide, std::nullopt, stride, padding, dilation, groups);
  work.take_gradient(grad);
  auto dx = work.backward_input(input, guide_learns || work.p.experts);
  auto [de, da] = work.backward_mixing(experts, coefficients);
  auto df = guide_learns ? work.backward_guide(guide) : at::empty({0}, guide.options());
  return {dx, de, da, df};
}

// Guide, pooling, routing and convolution of a whole layer: see drbench_kernels.layer.
Tensor expert_layer(const Tensor& input, const Tensor& experts, const Tensor& routing, const Tensor& routing_bias,
                    const Tensor& guide, const std::optional<Tensor>& bias, IntArrayRef stride, IntArrayRef padding,
                    IntArrayRef dilation, int64_t groups, IntArrayRef guide_padding) {
  check_layer(input, experts, routing, routing_bias, guide, bias, stride, padding, dilation, groups, guide_padding);
  if (!computes(input) || !input.numel() || guide.scalar_type() == at::kDouble)
    return by_torch<Tensor, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                    const std::optional<Tensor>&, c10::SymIntArrayRef, c10::SymIntArrayRef, c10::SymIntArrayRef,
                    c10::SymInt, c10::SymIntArrayRef>("drbench::expert_layer_by_torch", input, experts, routing,
                                                      routing_bias, guide, bias, DRBENCH_GEOMETRY,
                                                      c10::fromIntArrayRefSlow(guide_padding));
  const auto x = images(input), w = floats(routing), b = floats(routing_bias);
  const int64_t height = output_size(input, experts, stride, padding, dilation, 0),
                width = output_size(input, experts, stride, padding, dilation, 1);
  Work work(images(seen_by(experts, x, groups)), floats(experts), floats(bias), height, width, stride, padding, dilation,
            is_depthwise(x, groups) ? experts.size(1) : groups);
  const Work choice(x, floats(guide), Tensor(), height, width, stride, guide_padding, dilation, 1);
  auto &p = work.p, q = choice.p;
  p.regions = guide.size(0), p.experts = experts.size(0);
  const int64_t positions = p.positions(), pixels = p.height * p.width, cut = 512;
  const int64_t pieces = (std::max(positions, pixels) + cut - 1) / cut;
  work.make_lists();
  const auto numbers = empty({positions + 64}, at::kInt);  // all positions in order; a tile is looked ahead here too
  std::iota(numbers.data_ptr<int32_t>(), numbers.data_ptr<int32_t>() + positions + 64, 0);
  const auto logits = empty({p.samples, positions, p.regions});
  const auto panels = empty({work.with.guide_panels(q)});
  const auto sums = empty({p.samples, pieces, q.channels});
  work.coefficients = empty({p.samples, p.regions, p.experts});
  q.output = logits.data_ptr<float>();
  auto *sum = sums.data_ptr<float>(), *a = work.coefficients.data_ptr<float>();
  work.with.pack_guide(q, panels.data_ptr<float>());
  run({p.samples * pieces, 0}, [&](int64_t task, float*) {
    const int64_t n = task / pieces, i = task % pieces, from = i * cut;
    const int64_t count = std::min(from + cut, positions) - from;
    if (count > 0)
      work.with.guide(q, n, numbers.const_data_ptr<int32_t>() + from, count, panels.const_data_ptr<float>(), work.region);
    work.with.pool(q, n, std::min(from, pixels), std::min(from + cut, pixels), sum + task * q.channels);
  });
  at::parallel_for(0, p.samples, 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      float* pooled = sum + n * pieces * q.channels;
      for (int64_t c = 0; c < q.channels; ++c) {
        for (int64_t i = 1; i < pieces; ++i) pooled[c] += pooled[i * q.channels + c];
        pooled[c] /= static_cast<float>(pixels);
      }
      const int64_t count = p.regions * p.experts;
      work.with.coefficients(pooled, q.channels, w.const_data_ptr<float>(), b.const_data_ptr<float>(), count, p.experts,
                             a + n * count);
    }
  });
  p.coefficients = a;
  work.pack_depthwise();
  work.sort();
  return work.forward(input);
}

}  // namespace

TORCH_LIBRARY_IMPL(drbench, CPU, m) {
  m.impl("region_conv2d", &region_conv2d);
  m.impl("region_conv2d_backward", &region_conv2d_backward);
  m.impl("expert_region_conv2d", &expert_region_conv2d);
  m.impl("expert_region_conv2d_backward", &expert_region_conv2d_backward);
  m.impl("expert_layer", &expert_layer);
}

TORCH_LIBRARY(drbench_native, m) {
  m.def("kernels() -> str", []() { return std::string(kernels() ? kernels()->name : "none"); });
  m.def("use(bool wanted) -> bool", [](bool wanted) { return in_use.exchange(wanted); });
}
