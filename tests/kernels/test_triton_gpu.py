"""The Triton kernels on a GPU: numerics of every path and dtype, repeatability, graphs, streams, devices, launches.

python -m pytest tests/kernels/test_triton_gpu.py -s        prints the launches of each function
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from drbench_kernels.geometry import Geometry
from drbench_kernels.reference import region_conv2d_by_choice
from torch import Tensor

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

# Of the largest value: one rounding to the dtype (half a unit of 2^-23, 2^-10, 2^-7; TF32 multiplies with 10 bits),
# twice where mixed filters or weighted gradients are rounded as well, and the float32 sums, see
# test_triton_interpreter.py.
TOLERANCE = {"float32": 2e-5, "tf32": 2e-3, "float16": 2e-3, "bfloat16": 1.6e-2}


@dataclass(frozen=True)
class Shape:
    channels: int
    out: int
    side: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    samples: int = 4


SHAPES = [
    Shape(1, 3, 17),  # tiles almost empty
    Shape(24, 58, 57),
    Shape(58, 58, 28, samples=128),  # ShuffleNetV2's, at a batch of training
    Shape(122, 116, 15, stride=2),
    Shape(232, 232, 7, samples=128),
    Shape(1024, 1024, 7),  # several tiles of everything
    Shape(3, 24, 65, kernel=3, stride=2),
    Shape(116, 58, 13, kernel=3, groups=2),
    Shape(256, 256, 14, kernel=3),
]


@dataclass(frozen=True)
class Problem:
    input: Tensor
    filters: Tensor
    experts: Tensor
    coefficients: Tensor
    guide: Tensor
    bias: Tensor
    grad: Tensor
    geometry: Geometry


def problem(shape: Shape, dtype: torch.dtype = torch.float32, device: str = "cuda", regions: int = 8) -> Problem:
    torch.manual_seed(0)
    pad = shape.kernel // 2
    geometry = Geometry((shape.stride,) * 2, (pad, pad), (1, 1), shape.groups)
    n, size = shape.samples, geometry.output_size(shape.side, shape.side, (shape.kernel,) * 2)
    one = (shape.out, shape.channels // shape.groups, shape.kernel, shape.kernel)
    last = torch.channels_last

    def noise(*sizes: int) -> Tensor:
        return torch.randn(*sizes, device=device)

    return Problem(
        noise(n, shape.channels, shape.side, shape.side).to(dtype).contiguous(memory_format=last),
        noise(n, regions, *one).to(dtype),
        noise(4, *one).to(dtype),
        torch.rand(n, regions, 4, device=device),
        noise(n, regions, *size),
        noise(shape.out).to(dtype),
        noise(n, shape.out, *size).to(dtype).contiguous(memory_format=last),
        geometry,
    )


def by_region(p: Problem) -> tuple[Tensor, ...]:
    """y, dx, dW, dF."""
    from drbench_kernels import gpu

    y = gpu.region_forward(p.input, p.filters, p.guide, p.bias, p.geometry)
    return y, *gpu.region_backward(p.grad, p.input, p.filters, p.guide, p.geometry, True)


def through_experts(path: str) -> Callable[[Problem], tuple[Tensor, ...]]:
    """y, dx, dE, dA, dF."""

    def run(p: Problem) -> tuple[Tensor, ...]:
        from drbench_kernels import gpu

        banks = (p.experts, p.coefficients, p.guide)
        y = gpu.expert_forward(p.input, *banks, p.bias, p.geometry, path)
        return y, *gpu.expert_backward(p.grad, p.input, *banks, p.geometry, True, path)

    return run


WAYS = {
    "by region": by_region,
    "experts, mixed": through_experts("triton-region"),
    "experts, never mixed": through_experts("triton-expert"),
}


def exact(p: Problem, experts: bool) -> tuple[Tensor, ...]:
    """As the ways above, in float64, one sample at a time (m results of a large batch would fill the memory)."""
    plain = (p.geometry.stride, p.geometry.padding, p.geometry.dilation, p.geometry.groups)
    bank = p.experts.double().requires_grad_()
    parts = []
    for i in range(p.input.shape[0]):
        one = slice(i, i + 1)
        x, a, guide, w = (t[one].double().requires_grad_() for t in (p.input, p.coefficients, p.guide, p.filters))
        filters = torch.einsum("nmk,k...->nm...", a, bank) if experts else w
        y = region_conv2d_by_choice(x, filters, guide, p.bias.double(), *plain)
        learn = [x, bank, a, guide] if experts else [x, w, guide]
        parts.append((y.detach(), *torch.autograd.grad(y, learn, p.grad[one].double())))
    stacked = [torch.cat(column) for column in zip(*parts, strict=True)]
    if experts:
        stacked[2] = stacked[2].view(len(parts), *bank.shape).sum(0)
    return tuple(stacked)


@contextmanager
def tf32(wanted: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = wanted
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize("arithmetic", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_agrees_with_float64_and_with_itself(way: str, shape: Shape, arithmetic: str) -> None:
    dtype = torch.float32 if arithmetic == "tf32" else getattr(torch, arithmetic)
    p = problem(shape, dtype)
    with tf32(arithmetic == "tf32"):
        runs = [WAYS[way](p) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    for index, (got, want) in enumerate(zip(runs[0], exact(p, way != "by region"), strict=True)):
        assert got.shape == want.shape
        error = float((got.double() - want).abs().max() / want.abs().max().clamp(min=1))
        assert error <= TOLERANCE[arithmetic], f"result {index}: {error:.1e} of the largest"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_cuda_graph_of_forward_and_backward_follows_its_inputs(way: str, kernel: int) -> None:
    p = problem(Shape(58, 58, 28, kernel))
    other = problem(Shape(58, 58, 28, kernel))
    WAYS[way](p)  # builds the kernels
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = WAYS[way](p)
    p.input.copy_(other.input.flip(0))
    p.guide.copy_(other.guide.flip(1))  # every region changes its size
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(captured, WAYS[way](p), strict=True))


@pytest.mark.parametrize("way", WAYS)
def test_a_side_stream_orders_its_own_work(way: str) -> None:
    p = problem(Shape(58, 58, 28, samples=64))
    want = WAYS[way](p)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        doubled = Problem(p.input * 2, *list(p.__dict__.values())[1:])
        for _ in range(20):
            doubled.input.mul_(1.0)  # the kernels must wait for what was queued before them
        got = WAYS[way](Problem(doubled.input / 2, *list(p.__dict__.values())[1:]))
    torch.cuda.current_stream().wait_stream(stream)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
@pytest.mark.parametrize("way", WAYS)
def test_tensors_of_a_device_that_is_not_the_current_one(way: str) -> None:
    p = problem(Shape(24, 24, 9), device="cuda:1")
    with torch.cuda.device(0):
        results = WAYS[way](p)
    assert {t.device.index for t in results} == {1}
    assert torch.allclose(results[0].double(), exact(p, way != "by region")[0], atol=1e-3)


def test_nothing_waits_for_the_device() -> None:
    p = problem(Shape(58, 58, 28))
    for way in WAYS.values():
        way(p)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for way in WAYS.values():
            way(p)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_filters_beyond_32_bits() -> None:
    """2^31 elements and one filter more: forward, dx and dW of the last region."""
    from drbench_kernels import gpu

    if torch.cuda.mem_get_info()[0] < 14 * 2**30:
        pytest.skip("14 GiB of free GPU memory are needed")
    geometry, out, channels = Geometry((1, 1), (0, 0), (1, 1), 1), 2048, 2048
    count = 2**31 // (out * channels) + 1
    filters = torch.zeros(1, count, out, channels, 1, 1, dtype=torch.float16, device="cuda")
    last = filters[0, -1, :, :, 0, 0].normal_(std=1 / 45)
    x, g = (torch.randn(1, c, 1, 1, device="cuda").half() for c in (channels, out))
    regions = torch.full((1, 1, 1), count - 1, device="cuda")
    y = gpu.region_forward(x, filters, regions, None, geometry).flatten()
    assert float((y.double() - last.double() @ x.double().flatten()).abs().max()) < 1e-2
    dx, dw, _ = gpu.region_backward(g, x, filters, regions, geometry, False)
    assert float((dx.flatten().double() - last.double().T @ g.double().flatten()).abs().max()) < 1e-2
    torch.testing.assert_close(dw[0, -1, :, :, 0, 0], torch.outer(g.flatten(), x.flatten()))
    assert not dw[0, :-1].any()


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("way", WAYS)
def test_launches(way: str, kernel: int) -> None:
    """Printed, and at most what the modules say: everything that runs on the device, memsets and copies included."""
    p = problem(Shape(58, 58, 28, kernel, samples=128))
    WAYS[way](p)
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profile:
        WAYS[way](p)
        torch.cuda.synchronize()
    names = [e.name for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    print(f"\n{way}, {kernel}x{kernel}: forward and backward {len(names)} launches: {', '.join(names)}")
    backward = 2 if kernel == 1 else 3
    assert len(names) <= {"by region": 1 + backward, "experts, mixed": 2 + 1 + backward + 4}.get(way, 1 + backward + 2)


def test_autotuning_changes_no_result_beyond_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    p = problem(Shape(58, 58, 14))
    want = by_region(p)
    monkeypatch.setenv("DRBENCH_AUTOTUNE", "1")
    for got, expected in zip(by_region(p), want, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
