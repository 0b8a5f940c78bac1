// From tensors to a Problem and back: memory, layouts, pieces of work over torch's own threads.
#pragma once

#include <ATen/EmptyTensor.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <atomic>
#include <limits>
#include <optional>
#include <string>
#include <tuple>

#include "problem.h"

namespace {

using at::IntArrayRef;
using at::Tensor;
using drbench::Kernels;
using drbench::Plan;
using drbench::Problem;
using Three = std::tuple<Tensor, Tensor, Tensor>;
using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;

std::atomic<bool> in_use{true};

// The kernels for what torch itself would use on this CPU (ATEN_CPU_CAPABILITY holds for both), or null.
const Kernels* kernels() {
#if defined(__x86_64__)
  static const std::string capability = at::get_cpu_capability();
  if (capability == "AVX512") return &drbench::avx512_kernels;
  if (capability == "AVX2") return &drbench::avx2_kernels;
  return nullptr;
#else
  return &drbench::neon_kernels;
#endif
}

bool computes(const Tensor& tensor) {
  const auto type = tensor.scalar_type();
  return in_use && kernels() && (type == at::kFloat || type == at::kBFloat16 || type == at::kHalf);
}

Tensor wide(const Tensor& tensor) { return tensor.scalar_type() == at::kFloat ? tensor : tensor.to(at::kFloat); }
Tensor floats(const Tensor& tensor) { return wide(tensor).contiguous(); }
Tensor floats(const std::optional<Tensor>& tensor) { return tensor ? floats(*tensor) : Tensor(); }
Tensor images(const Tensor& tensor) { return wide(tensor).contiguous(at::MemoryFormat::ChannelsLast); }

bool is_channels_last(const Tensor& tensor) {
  return tensor.is_contiguous(at::MemoryFormat::ChannelsLast) && !tensor.is_contiguous();
}

// Memory of torch's allocator, past the dispatcher: an op needs some, and small ones take microseconds altogether.
// Large ones are new memory each time, and touching it page by page takes longer than filling it: ask for pages of 2 MiB.
Tensor empty(IntArrayRef size, at::ScalarType type = at::kFloat,
             std::optional<at::MemoryFormat> format = std::nullopt) {
  auto made = at::detail::empty_cpu(size, type, std::nullopt, std::nullopt, std::nullopt, format);
#if defined(__linux__)
  constexpr uintptr_t PAGE = 2 << 20;
  if (made.nbytes() >= 8 * PAGE) {
    const auto start = reinterpret_cast<uintptr_t>(made.data_ptr()), end = start + made.nbytes();
    const auto first = (start + PAGE - 1) / PAGE * PAGE;
    madvise(reinterpret_cast<void*>(first), end / PAGE * PAGE - first, MADV_HUGEPAGE);
  }
#endif
  return made;
}

Tensor empty_images(IntArrayRef size, bool zeros) {
  auto made = empty(size, at::kFloat, at::MemoryFormat::ChannelsLast);
  return zeros ? made.zero_() : made;
}

// In the dtype and the memory format of `like`.
Tensor laid_out_as(const Tensor& like, const Tensor& images) {
  const auto cast = like.scalar_type() == at::kFloat ? images : images.to(like.scalar_type());
  if (is_channels_last(like)) return cast;
  if (images.size(1) == 1 || images.size(2) * images.size(3) == 1)  // both formats at once
    return cast.as_strided(cast.sizes(), at::empty(cast.sizes(), cast.options().device(at::kMeta)).strides());
  return cast.contiguous();
}

// Calls f(task, scratch of its thread) for every task; threads take the next one as they get free.
template <typename F>
void run(const Plan& plan, const F& f) {
  const int64_t threads = std::min<int64_t>(plan.tasks, at::get_num_threads());
  const int64_t size = (plan.scratch + 63) / 64 * 64;
  const auto scratch = empty({threads * size + 16});
  auto* start = scratch.data_ptr<float>();
  start += (64 - reinterpret_cast<uintptr_t>(start) % 64) % 64 / sizeof(float);
  std::atomic<int64_t> next{0};
  at::parallel_for(0, threads, 1, [&](int64_t from, int64_t to) {
    for (int64_t thread = from; thread < to; ++thread)
      for (int64_t task = next++; task < plan.tasks; task = next++) f(task, start + thread * size);
  });
}

// One channel a group. Where a channel has several outputs, it is repeated for each of them: then a filter has one.
bool is_depthwise(const Tensor& input, int64_t groups) { return groups > 1 && input.size(1) == groups; }

Tensor seen_by(const Tensor& filters, const Tensor& input, int64_t groups) {
  const int64_t each = filters.size(-4) / groups;
  return is_depthwise(input, groups) && each > 1 ? input.repeat_interleave(each, 1) : input;
}

// In float32, whatever autocast says: a backward may run inside it.
Tensor product(const Tensor& a, const Tensor& b) {
  const c10::impl::ExcludeDispatchKeyGuard full_precision(c10::autocast_dispatch_keyset);
  return at::matmul(a, b).contiguous();
}

// A Problem, and the tensors that its pointers look into.
struct Work {
  Problem p{};
  Tensor input, filters, packed, experts, coefficients, bias, grad, zeros, pixels, logits, lists, scores, shared;
  int32_t *region = nullptr, *order = nullptr, *starts = nullptr;
  int64_t region_stride = 0, position_stride = 0;  // of the logits
  int64_t threads = at::get_num_threads();
  const Kernels& with = *kernels();
  const drbench::Steps& steps;

  Work(const Tensor& input_, const Tensor& filters_, const std::optional<Tensor>& coefficients_, const Tensor& guide,
       const std::optional<Tensor>& bias_, IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation,
       int64_t groups)
      : Work(images(seen_by(filters_, input_, groups)), floats(filters_), floats(bias_), guide.size(-2), guide.size(-1), stride, padding, dilation,
             is_depthwise(input_, groups) ? filters_.size(-4) : groups) {
    coefficients = floats(coefficients_);
    p.regions = filters.size(-5);
    if (coefficients.defined()) {
      p.coefficients = coefficients.const_data_ptr<float>();
      p.regions = coefficients.size(1), p.experts = coefficients.size(2);
    }
    p.shared_filters = !p.experts && filters.dim() == 5;
    pack_depthwise();
    make_lists();
    find_regions(guide);
    sort();
  }

  // Without regions, as yet: all tensors are float32, `images_` channels_last.
  Work(Tensor images_, Tensor filters_, Tensor bias_, int64_t out_height, int64_t out_width, IntArrayRef stride,
       IntArrayRef padding, IntArrayRef dilation, int64_t groups)
      : input(std::move(images_)), filters(std::move(filters_)), bias(std::move(bias_)),
        steps(is_depthwise(input, groups) ? with.depthwise : with.dense) {
    p.samples = input.size(0), p.channels = input.size(1), p.height = input.size(2), p.width = input.size(3);
    p.outputs = filters.size(-4), p.kernel_h = filters.size(-2), p.kernel_w = filters.size(-1), p.groups = groups;
    p.out_height = out_height, p.out_width = out_width;
    p.stride_h = stride[0], p.stride_w = stride[1], p.pad_h = padding[0], p.pad_w = padding[1];
    p.dilation_h = dilation[0], p.dilation_w = dilation[1];
    p.input = input.const_data_ptr<float>(), p.filters = filters.const_data_ptr<float>();
    if (bias.defined()) p.bias = bias.const_data_ptr<float>();
    p.pointwise = p.taps() == 1 && !p.pad_h && !p.pad_w && p.stride_h == 1 && p.stride_w == 1;
    if (!p.pointwise) {
      zeros = at::zeros({p.channels}, at::kFloat);
      p.zeros = zeros.const_data_ptr<float>();
      TORCH_CHECK_VALUE(p.height * p.width <= std::numeric_limits<int32_t>::max(), "input has ", p.height * p.width,
                        " pixels an image: allowed are 2147483647");
      pixels = empty({p.taps(), p.positions()}, at::kInt);
      p.pixels = pixels.const_data_ptr<int32_t>();
      with.find_pixels(p, pixels.data_ptr<int32_t>());
    }
    TORCH_CHECK_VALUE(p.samples * p.positions() <= std::numeric_limits<int32_t>::max(), "input has ",
                      p.samples * p.positions(), " positions: allowed are 2147483647");
  }

  // Depthwise filters as the kernels read them, those of experts mixed: that is little work, and the rest has no experts.
  void pack_depthwise() {
    if (&steps != &with.depthwise) return;
    const int64_t size = with.packed_size(p), count = filters.numel() / p.filter_size();
    packed = empty({count, size});
    auto* to = packed.data_ptr<float>();
    run({count, 0}, [&](int64_t filter, float*) { with.pack(p, filter, to); });
    if (p.experts) {
      experts = packed;
      packed = product(coefficients, experts);
      p.experts = 0;
    }
    p.packed = packed.const_data_ptr<float>();
  }

  // Regions, order and starts; the kernels look a tile ahead in `order`, which must not lead out of it.
  void make_lists() {
    const int64_t all = p.samples * p.positions();
    lists = empty({2 * all + p.samples * (p.regions + 1) + 64}, at::kInt);
    region = lists.data_ptr<int32_t>(), order = region + all, starts = order + all;
    p.region = region, p.order = order, p.starts = starts;
  }

  void find_regions(const Tensor& guide) {
    const int64_t samples = p.samples, m = p.regions, positions = p.positions();
    if (guide.scalar_type() == at::kDouble) {  // as float32, close ones could change places
      region_map().copy_(std::get<1>(guide.max(1)).view({samples, positions}));
    } else if (guide.is_floating_point()) {
      const int64_t cuts = std::clamp<int64_t>(threads / samples, 1, 1 + positions / 1024);
      look_at(guide);
      const auto* l = logits.const_data_ptr<float>();
      at::parallel_for(0, samples * cuts, 1, [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) {
          const int64_t n = i / cuts, start = positions * (i % cuts) / cuts, end = positions * (i % cuts + 1) / cuts;
          with.argmax(l + n * m * positions + start * position_stride, m, end - start, region_stride, position_stride,
                      region + n * positions + start);
        }
      });
    } else {
      const auto bounds = at::aminmax(guide);
      const auto low = std::get<0>(bounds).item<int64_t>(), high = std::get<1>(bounds).item<int64_t>();
      TORCH_CHECK_VALUE(low >= 0 && high < m, "guide holds region ", low < 0 ? low : high, ": allowed is 0 to ", m - 1);
      region_map().copy_(guide.reshape({samples, positions}));
    }
  }

  void sort() {
    at::parallel_for(0, p.samples, 1, [&](int64_t from, int64_t to) {
      for (int64_t n = from; n < to; ++n)
        with.sort(region + n * p.positions(), p.regions, p.positions(), order + n * p.positions(),
                  starts + n * (p.regions + 1));
    });
  }

  Tensor region_map() const {
    return lists.slice(0, 0, p.samples * p.positions()).view({p.samples, p.positions()});
  }

  // The logits as the kernels read them: planes, or channels_last, whichever they are.
  void look_at(const Tensor& guide) {
    const auto values = wide(guide);
    const bool last = is_channels_last(values);
    logits = last ? values : values.contiguous();
    region_stride = last ? 1 : p.positions();
    position_stride = last ? p.regions : 1;
  }

  Tensor forward(const Tensor& like) {
    auto y = empty_images({p.samples, p.outputs, p.out_height, p.out_width}, false);
    p.output = y.data_ptr<float>();
    float* prepared = nullptr;
    if (const int64_t pieces = with.prepare_pieces(p)) {
      shared = empty({with.shared_scratch(p)});
      prepared = shared.data_ptr<float>();
      run({pieces, 0}, [&](int64_t piece, float*) { with.prepare_forward(p, piece, prepared); });
    }
    run(steps.plan_forward(p, threads),
        [&](int64_t task, float* scratch) { steps.forward(p, threads, task, prepared, scratch); });
    return laid_out_as(like, y);
  }

  void take_gradient(const Tensor& grad_) {
    grad = images(grad_);
    p.grad = grad.const_data_ptr<float>();
  }

  // dx; and the scores, in one chunk, where all regions (or experts) are gone through.
  Tensor backward_input(const Tensor& like, bool all_regions) {
    const int64_t chunks = steps.score_chunks(p, threads), filters_ = p.experts ? p.experts : p.regions;
    auto dx = empty_images(input.sizes(), !p.pointwise);
    p.grad_input = dx.data_ptr<float>();
    scores = empty({all_regions || p.experts ? chunks : 0, p.samples, filters_, p.positions()});
    p.scores = scores.data_ptr<float>();
    run(steps.plan_backward_input(p, threads),
        [&](int64_t task, float* scratch) { steps.backward_input(p, threads, task, all_regions, scratch); });
    scores = chunks == 1 || !scores.size(0) ? scores.flatten(0, 1) : scores.sum(0);
    p.scores = scores.data_ptr<float>();
    const int64_t channels = like.size(1), each = p.channels / channels;
    if (each > 1) dx = images(dx.view({p.samples, channels, each, p.height, p.width}).sum(2));
    return laid_out_as(like, dx);
  }

  Tensor backward_filters(const Tensor& like) {
    const auto dw = gradient_of(p.packed ? packed : filters);
    return p.packed ? unpacked(dw, like) : dw.to(like.scalar_type());
  }

  Tensor gradient_of(const Tensor& values) {
    auto dw = empty(values.sizes());
    p.grad_filters = dw.data_ptr<float>();
    run(steps.plan_backward_filters(p, threads),
        [&](int64_t task, float* scratch) { steps.backward_filters(p, threads, task, scratch); });
    return dw;
  }

  // Gradients of experts and coefficients; of depthwise ones from those of the filters that were mixed.
  std::tuple<Tensor, Tensor> backward_mixing(const Tensor& like, const Tensor& like_coefficients) {
    if (!p.packed) return {backward_filters(like), backward_coefficients(like_coefficients)};
    const auto dw = gradient_of(packed);
    return {unpacked(product(coefficients.flatten(0, 1).t(), dw.flatten(0, 1)), like),
            product(dw, experts.t()).to(like_coefficients.scalar_type())};
  }

  // Packed depthwise filters as PyTorch has them.
  Tensor unpacked(const Tensor& packed, const Tensor& like) const {
    const auto taps = packed.view({-1, p.taps(), packed.size(-1) / p.taps()}).slice(2, 0, p.channels).transpose(1, 2);
    return taps.reshape(like.sizes()).to(like.scalar_type());
  }

  // dA[n, j, k] = the sum of expert k's scores over the positions of region j.
  Tensor backward_coefficients(const Tensor& like) const {
    const auto da = empty(coefficients.sizes());
    auto* out = da.data_ptr<float>();
    const int64_t m = p.regions, experts = p.experts, positions = p.positions();
    at::parallel_for(0, p.samples * m, 1, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const int64_t n = i / m, j = i % m;
        const auto *begin = p.starts + n * (m + 1), *list = p.order + n * positions;
        for (int64_t k = 0; k < experts; ++k) {
          const float* s = p.scores + (n * experts + k) * positions;
          double total = 0;
          for (int32_t at = begin[j]; at < begin[j + 1]; ++at) total += s[list[at]];
          out[i * experts + k] = static_cast<float>(total);
        }
      }
    });
    return da.to(like.scalar_type());
  }

  // dF from the scores of all regions.
  Tensor backward_guide(const Tensor& guide) {
    if (p.experts) {
      const auto mixed = empty({p.samples, p.regions, p.positions()});
      auto* into = mixed.data_ptr<float>();
      at::parallel_for(0, p.samples, 1, [&](int64_t from, int64_t to) {
        for (int64_t n = from; n < to; ++n) with.mix_scores(p, n, into);
      });
      scores = mixed;
      p.scores = scores.data_ptr<float>();
    }
    if (!logits.defined()) look_at(guide);
    const auto df = empty(guide.sizes());
    const auto* l = logits.const_data_ptr<float>();
    auto* out = df.data_ptr<float>();
    const int64_t positions = p.positions(), cuts = (positions + 1023) / 1024, step = 1024;
    at::parallel_for(0, p.samples * cuts, 1, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const int64_t n = i / cuts, start = i % cuts * step;
        with.guide_gradient(p, 1, l + n * p.regions * positions, region_stride, position_stride, n, start,
                            std::min(start + step, positions), out);
      }
    });
    return df.to(guide.scalar_type());
  }
};

}  // namespace
