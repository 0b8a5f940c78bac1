// The native kernels of one vector width against loops in double, without torch: see test_widths.py.
// With GCC's vector extensions a width that the processor lacks is made of narrower ones, so every width runs anywhere.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "problem.h"

using namespace drbench;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

namespace {

const Kernels& kernels = DRBENCH_TESTED;
double worst = 0;

Floats normal(size_t count) {
  static std::mt19937 generator(1);
  std::normal_distribution<float> draw;
  Floats values(count);
  for (float& value : values) value = draw(generator);
  return values;
}

// The largest difference, over the largest value: 2e-5 is what test_native.py allows, and says why.
void compare(const char* what, const Floats& got, const Doubles& want) {
  double difference = 0, largest = 1;
  for (size_t i = 0; i < want.size(); ++i) {
    difference = std::isnan(got[i]) ? 1e9 : std::max(difference, std::fabs(got[i] - want[i]));
    largest = std::max(largest, std::fabs(want[i]));
  }
  worst = std::max(worst, difference / largest);
  if (difference > 2e-5 * largest) std::printf("%s is off by %g of %g\n", what, difference, largest);
}

template <typename F>
void run(const Plan& plan, const F& f) {
  Floats scratch(plan.scratch + 64);
  auto* aligned = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(scratch.data()) + 63) / 64 * 64);
  for (int64_t task = 0; task < plan.tasks; ++task) f(task, aligned);
}

struct Case {
  int samples, regions, experts, channels, outputs, groups, height, width, kernel, stride, pad, threads;
};

void check(const Case& c) {
  Problem p{};
  p.samples = c.samples, p.regions = c.regions, p.experts = c.experts, p.channels = c.channels, p.outputs = c.outputs;
  p.groups = c.groups, p.height = c.height, p.width = c.width, p.kernel_h = p.kernel_w = c.kernel;
  p.stride_h = p.stride_w = c.stride, p.pad_h = p.pad_w = c.pad, p.dilation_h = p.dilation_w = 1;
  p.out_height = (c.height + 2 * c.pad - c.kernel) / c.stride + 1;
  p.out_width = (c.width + 2 * c.pad - c.kernel) / c.stride + 1;
  const int64_t n_all = c.samples, m = c.regions, k = c.experts, P = p.positions(), T = p.taps(), D = p.depth();
  const int64_t O = c.outputs, C = c.channels, size = p.filter_size(), scored = k ? k : m;

  const Floats x = normal(n_all * c.height * c.width * C), w = normal((k ? k : n_all * m) * size);
  const Floats a = normal(n_all * m * std::max<int64_t>(k, 1)), bias = normal(O), g = normal(n_all * P * O);
  const Floats logits = normal(n_all * m * P), zeros(C, 0.0f);
  p.input = x.data(), p.filters = w.data(), p.coefficients = k ? a.data() : nullptr, p.bias = bias.data();
  p.grad = g.data(), p.zeros = zeros.data();
  p.pointwise = T == 1 && c.pad == 0 && c.stride == 1;
  std::vector<int32_t> pixels(T * P), region(n_all * P), order(n_all * P + 64), starts(n_all * (m + 1));
  kernels.find_pixels(p, pixels.data());
  p.pixels = pixels.data(), p.region = region.data(), p.order = order.data(), p.starts = starts.data();
  for (int64_t n = 0; n < n_all; ++n) {
    const float* own = logits.data() + n * m * P;
    Floats turned(m * P);
    for (int64_t i = 0; i < P; ++i)
      for (int64_t j = 0; j < m; ++j) turned[i * m + j] = own[j * P + i];
    std::vector<int32_t> again(P);
    kernels.argmax(own, m, P, P, 1, region.data() + n * P);
    kernels.argmax(turned.data(), m, P, 1, m, again.data());
    for (int64_t i = 0; i < P; ++i) {
      int32_t best = 0;
      for (int32_t j = 1; j < m; ++j)
        if (own[j * P + i] > own[best * P + i]) best = j;
      if (region[n * P + i] != best || again[i] != best) std::printf("argmax is off\n"), worst = 1;
    }
    kernels.sort(region.data() + n * P, m, P, order.data() + n * P, starts.data() + n * (m + 1));
  }

  const auto at = [&](int64_t filter, int64_t o, int64_t d, int64_t t) { return filter * size + (o * D + d) * T + t; };
  Doubles y(n_all * P * O), dx(x.size()), dw(w.size()), scores(n_all * scored * P);
  for (int64_t n = 0; n < n_all; ++n)
    for (int64_t i = 0; i < P; ++i)
      for (int64_t o = 0; o < O; ++o) {
        const int64_t j = region[n * P + i], place = (n * P + i) * O + o;
        const double g_p = g[place];
        y[place] = bias[o];
        for (int64_t t = 0; t < T; ++t) {
          const int64_t row = i / p.out_width * c.stride - c.pad + t / c.kernel;
          const int64_t column = i % p.out_width * c.stride - c.pad + t % c.kernel;
          if (row < 0 || row >= c.height || column < 0 || column >= c.width) continue;
          for (int64_t d = 0; d < D; ++d) {
            const int64_t pixel = ((n * c.height + row) * c.width + column) * C + o / p.group_outputs() * D + d;
            double filter = k ? 0 : w[at(n * m + j, o, d, t)];
            for (int64_t e = 0; e < k; ++e) {
              const double mixed = a[(n * m + j) * k + e];
              filter += mixed * w[at(e, o, d, t)];
              dw[at(e, o, d, t)] += mixed * g_p * x[pixel];
            }
            if (!k) dw[at(n * m + j, o, d, t)] += g_p * x[pixel];
            for (int64_t s = 0; s < scored; ++s)
              scores[(n * scored + s) * P + i] += g_p * x[pixel] * w[at(k ? s : n * m + s, o, d, t)];
            y[place] += filter * x[pixel];
            dx[pixel] += filter * g_p;
          }
        }
      }

  Floats got_y(y.size()), got_dx(dx.size(), 0.0f), got_dw(dw.size()), shared(kernels.shared_scratch(p) + 16);
  const int64_t chunks = kernels.dense.score_chunks(p, c.threads);
  Floats got_scores(chunks * scores.size());
  p.output = got_y.data(), p.grad_input = got_dx.data(), p.grad_filters = got_dw.data(), p.scores = got_scores.data();
  for (int64_t piece = 0; piece < kernels.prepare_pieces(p); ++piece)
    kernels.prepare_forward(p, piece, shared.data());
  run(kernels.dense.plan_forward(p, c.threads),
      [&](int64_t task, float* scratch) { kernels.dense.forward(p, c.threads, task, shared.data(), scratch); });
  run(kernels.dense.plan_backward_input(p, c.threads),
      [&](int64_t task, float* scratch) { kernels.dense.backward_input(p, c.threads, task, true, scratch); });
  run(kernels.dense.plan_backward_filters(p, c.threads),
      [&](int64_t task, float* scratch) { kernels.dense.backward_filters(p, c.threads, task, scratch); });
  for (int64_t chunk = 1; chunk < chunks; ++chunk)
    for (size_t i = 0; i < scores.size(); ++i) got_scores[i] += got_scores[chunk * scores.size() + i];
  compare("y", got_y, y);
  compare("dx", got_dx, dx);
  compare("dw", got_dw, dw);
  compare("scores", got_scores, scores);
}

}  // namespace

int main() {
  int cases = 0;
  for (int experts : {0, 3, 8})
    for (int channels : {1, 3, 24, 58})
      for (int outputs : {1, 3, 24, 58})
        for (int kernel : {1, 3})
          for (int threads : {1, 3}) {
            check({2, 5, experts, channels, outputs, 1, kernel == 1 ? 7 : 5, 7, kernel, 1, kernel / 2, threads});
            check({1, 17, experts, channels, outputs, 1, 9, 9, 1, 1, 0, threads});
            if (channels % 2 == 0 && outputs % 2 == 0)
              check({1, 8, experts, channels, outputs, 2, 7, 9, kernel, 2, kernel / 2, threads});
            ++cases;
          }
  std::printf("%d shapes, off by %g at most\n", cases, worst);
  return worst > 2e-5;
}
