// What an op is called with, held against one another before any pointer is followed: whoever calls torch.ops, or runs a
// saved program on other shapes, gets a ValueError and not a crash. The words of drbench_kernels.geometry, shortened.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace {

using at::IntArrayRef;
using at::Tensor;

constexpr int64_t LARGEST = 2147483647;

void check_tensor(const char* name, const Tensor& tensor, bool floating = true) {
  TORCH_CHECK_VALUE(tensor.device().is_cpu() && tensor.layout() == at::kStrided, name, " is ", tensor.layout(), " on ",
                    tensor.device(), ": allowed is a dense tensor on the CPU");
  TORCH_CHECK_VALUE(!floating || at::isFloatingType(tensor.scalar_type()), name, " is ", tensor.scalar_type(),
                    ": allowed is a floating dtype");
}

void check_pair(const char* name, IntArrayRef values, int64_t least) {
  TORCH_CHECK_VALUE(values.size() == 2 && values[0] >= least && values[1] >= least && values[0] <= LARGEST &&
                        values[1] <= LARGEST,
                    name, " is ", values, ": allowed is a pair from ", least, " to ", LARGEST);
}

// The output's size along one axis (0 or 1), once the pairs are right.
int64_t output_size(const Tensor& input, const Tensor& filters, IntArrayRef stride, IntArrayRef padding,
                    IntArrayRef dilation, int64_t axis) {
  const int64_t room = input.size(2 + axis) + 2 * padding[axis] - dilation[axis] * (filters.size(-2 + axis) - 1) - 1;
  TORCH_CHECK_VALUE(room >= 0, "input of ", input.size(2), "x", input.size(3), " is smaller than the ",
                    filters.size(-2), "x", filters.size(-1), " kernel");
  return room / stride[axis] + 1;
}

// Input, filters (or experts) and windows.
void check_convolution(const Tensor& input, const char* name, const Tensor& filters, const std::optional<Tensor>& bias,
                       IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation, int64_t groups, bool per_sample) {
  check_tensor("input", input);
  check_tensor(name, filters);
  check_pair("stride", stride, 1);
  check_pair("padding", padding, 0);
  check_pair("dilation", dilation, 1);
  TORCH_CHECK_VALUE(input.dim() == 4, "input is ", input.sizes(), ": allowed is (N, C, H, W)");
  const bool own = per_sample && filters.dim() == 6;
  TORCH_CHECK_VALUE((own || filters.dim() == 5) && filters.size(-5) > 0 && filters.size(-2) > 0 && filters.size(-1) > 0,
                    name, " is ", filters.sizes(), ": allowed is (", per_sample ? "N, m" : "K", ", O, C/groups, kh, kw)");
  TORCH_CHECK_VALUE(groups > 0 && input.size(1) % groups == 0 && filters.size(-4) % groups == 0, "groups is ", groups,
                    ": allowed is a divisor of both the ", input.size(1), " input and the ", filters.size(-4),
                    " output channels");
  TORCH_CHECK_VALUE(filters.size(-3) == input.size(1) / groups && (!own || filters.size(0) == input.size(0)), name,
                    " is ", filters.sizes(), ": it does not fit an input of ", input.sizes(), " in ", groups, " groups");
  if (!bias) return;
  check_tensor("bias", *bias);
  TORCH_CHECK_VALUE(bias->dim() == 1 && bias->size(0) == filters.size(-4), "bias is ", bias->sizes(), ": allowed is (",
                    filters.size(-4), ")");
}

void check_call(const Tensor& input, const char* name, const Tensor& filters, const std::optional<Tensor>& coefficients,
                const Tensor& guide, const std::optional<Tensor>& bias, const std::optional<Tensor>& grad,
                IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation, int64_t groups) {
  check_convolution(input, name, filters, bias, stride, padding, dilation, groups, !coefficients);
  const int64_t n = input.size(0), height = output_size(input, filters, stride, padding, dilation, 0),
                width = output_size(input, filters, stride, padding, dilation, 1);
  int64_t regions = filters.size(-5);
  if (coefficients) {
    check_tensor("coefficients", *coefficients);
    TORCH_CHECK_VALUE(coefficients->dim() == 3 && coefficients->size(0) == n && coefficients->size(1) > 0 &&
                          coefficients->size(2) == filters.size(0),
                      "coefficients is ", coefficients->sizes(), ": allowed is (", n, ", m, ", filters.size(0), ")");
    regions = coefficients->size(1);
  }
  check_tensor("guide", guide, false);
  if (guide.is_floating_point()) {
    TORCH_CHECK_VALUE(guide.sizes() == IntArrayRef({n, regions, height, width}), "guide is ", guide.sizes(),
                      ": allowed is (", n, ", ", regions, ", ", height, ", ", width, ")");
  } else {
    TORCH_CHECK_VALUE(at::isIntegralType(guide.scalar_type(), false) && guide.sizes() == IntArrayRef({n, height, width}),
                      "guide is ", guide.scalar_type(), " ", guide.sizes(), ": allowed is an integer (", n, ", ", height,
                      ", ", width, ")");
  }
  if (!grad) return;
  check_tensor("grad", *grad);
  TORCH_CHECK_VALUE(grad->sizes() == IntArrayRef({n, filters.size(-4), height, width}), "grad is ", grad->sizes(),
                    ": allowed is (", n, ", ", filters.size(-4), ", ", height, ", ", width, ")");
}

void check_layer(const Tensor& input, const Tensor& experts, const Tensor& routing, const Tensor& routing_bias,
                 const Tensor& guide, const std::optional<Tensor>& bias, IntArrayRef stride, IntArrayRef padding,
                 IntArrayRef dilation, int64_t groups, IntArrayRef guide_padding) {
  check_convolution(input, "experts", experts, bias, stride, padding, dilation, groups, false);
  check_pair("guide_padding", guide_padding, 0);
  check_tensor("guide", guide);
  check_tensor("routing", routing);
  check_tensor("routing_bias", routing_bias);
  TORCH_CHECK_VALUE(guide.dim() == 4 && guide.numel() && guide.size(1) == input.size(1), "guide is ", guide.sizes(),
                    ": allowed is (m, ", input.size(1), ", kh, kw)");
  for (const int64_t axis : {0, 1})
    TORCH_CHECK_VALUE(output_size(input, guide, stride, guide_padding, dilation, axis) ==
                          output_size(input, experts, stride, padding, dilation, axis),
                      "guide is ", guide.sizes(), " with padding ", guide_padding, ": it must give the output's size");
  TORCH_CHECK_VALUE(routing.dim() == 2 && routing.size(0) == guide.size(0) * experts.size(0) &&
                        routing.size(1) == input.size(1) && routing_bias.dim() == 1 &&
                        routing_bias.size(0) == routing.size(0),
                    "routing is ", routing.sizes(), ": allowed is (m*K, C), with a bias of m*K");
}

}  // namespace
