// The torch ops on the CPU: tensors in, pieces of work over torch's own threads, tensors out.
//
// float32 is computed as it is; bfloat16 and float16 in float32, rounded once at the end. Anything else (float64), and
// everything while `drbench_native::use(False)` holds, goes to the ops of the same names with `_by_torch` behind.
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <numeric>
#include <string>

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
  if (!computes(input) || !guide.numel() || !filters.numel())
    return by_torch<Tensor, const Tensor&, const Tensor&, const Tensor&, const std::optional<Tensor>&,
                    c10::SymIntArrayRef, c10::SymIntArrayRef, c10::SymIntArrayRef, c10::SymInt>(
        "drbench::region_conv2d_by_torch", input, filters, guide, bias, DRBENCH_GEOMETRY);
  return Work(input, filters, std::nullopt, guide, bias, stride, padding, dilation, groups).forward(input);
}

Three region_conv2d_backward(const Tensor& grad, const Tensor& input, const Tensor& filters, const Tensor& guide,
                             IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation, int64_t groups,
                             bool guide_learns) {
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
  if (!computes(input) || !guide.numel() || !experts.numel())
    return by_torch<Tensor, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const std::optional<Tensor>&,
                    c10::SymIntArrayRef, c10::SymIntArrayRef, c10::SymIntArrayRef, c10::SymInt>(
        "drbench::expert_region_conv2d_by_torch", input, experts, coefficients, guide, bias, DRBENCH_GEOMETRY);
  return Work(input, experts, coefficients, guide, bias, stride, padding, dilation, groups).forward(input);
}

Four expert_region_conv2d_backward(const Tensor& grad, const Tensor& input, const Tensor& experts,
                                   const Tensor& coefficients, const Tensor& guide, IntArrayRef stride,
                                   IntArrayRef padding, IntArrayRef dilation, int64_t groups, bool guide_learns) {
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
  if (!computes(input) || !input.numel() || guide.scalar_type() == at::kDouble)
    return by_torch<Tensor, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                    const std::optional<Tensor>&, c10::SymIntArrayRef, c10::SymIntArrayRef, c10::SymIntArrayRef,
                    c10::SymInt, c10::SymIntArrayRef>("drbench::expert_layer_by_torch", input, experts, routing,
                                                      routing_bias, guide, bias, DRBENCH_GEOMETRY,
                                                      c10::fromIntArrayRefSlow(guide_padding));
  const auto x = images(input), w = floats(routing), b = floats(routing_bias);
  const auto size = [&](int64_t axis) {
    return (input.size(2 + axis) + 2 * padding[axis] - dilation[axis] * (experts.size(3 + axis) - 1) - 1) / stride[axis] +
           1;
  };
  const auto seen = [&](int64_t axis) {
    return (input.size(2 + axis) + 2 * guide_padding[axis] - dilation[axis] * (guide.size(2 + axis) - 1) - 1) /
               stride[axis] +
           1;
  };
  const int64_t span_h = dilation[0] * (experts.size(3) - 1), span_w = dilation[1] * (experts.size(4) - 1);
  TORCH_CHECK_VALUE(input.size(2) + 2 * padding[0] > span_h && input.size(3) + 2 * padding[1] > span_w, "input of ",
                    input.size(2), "x", input.size(3), " is smaller than the ", experts.size(3), "x", experts.size(4),
                    " kernel");
  TORCH_CHECK_VALUE(groups > 0 && experts.size(2) * groups == input.size(1) && experts.size(1) % groups == 0,
                    "experts are ", experts.sizes(), ": allowed are (K, O, ", input.size(1), " / groups, kh, kw)");
  TORCH_CHECK_VALUE(guide.size(1) == input.size(1) && seen(0) == size(0) && seen(1) == size(1), "guide is ",
                    guide.sizes(), ": it must see the input's ", input.size(1), " channels and give the output's size");
  TORCH_CHECK_VALUE(routing.size(0) == guide.size(0) * experts.size(0) && routing.size(1) == input.size(1) &&
                        routing_bias.numel() == routing.size(0) && (!bias || bias->numel() == experts.size(1)),
                    "routing is ", routing.sizes(), ": allowed is (m*K, C), with a bias of m*K; the layer's bias has O");
  Work work(images(seen_by(experts, x, groups)), floats(experts), floats(bias), size(0), size(1), stride, padding, dilation,
            is_depthwise(x, groups) ? experts.size(1) : groups);
  const Work choice(x, floats(guide), Tensor(), size(0), size(1), stride, guide_padding, dilation, 1);
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
