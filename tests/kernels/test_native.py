"""The native CPU kernels against float64, over shapes where tiles, panels and vectors end in the middle."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from drbench_kernels import expert_layer, expert_region_conv2d, native, region_conv2d
from drbench_kernels.reference import region_conv2d_by_choice
from torch import Tensor
from torch.nn import functional as F

pytestmark = pytest.mark.skipif(not native.ready(), reason=f"no native kernels: {native.why_not()}")

CHANNELS = (1, 3, 24, 58, 116, 122)  # ShuffleNetV2's, and around them: below, at and beyond a vector and a panel
MAPS = ("smooth", "scattered", "constant", "with empty regions")
# A float32 sum of T products, each rounded once (fused multiply-add), errs by at most T units of 2^-24 times the sum of
# the absolute products; the inputs are N(0, 1), T is up to 9 * 122, and errors add up like a random walk: 3e-6 of the
# largest value that is compared. 2e-5 leaves room for the sums over positions. bfloat16 and float16 are computed in
# float32 and rounded once: half a unit of 2^-8 and 2^-11.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2**-8, torch.float16: 2**-10}


@dataclass(frozen=True)
class Case:
    samples: int
    channels: int
    out: int
    regions: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    maps: str
    channels_last: bool
    guide_last: bool
    shared: bool
    dtype: torch.dtype


def random_case(seed: int) -> Case:
    draw = random.Random(seed)
    groups = draw.choice([1, 1, 1, 2])
    kernel = draw.choice([(1, 1), (1, 1), (1, 1), (3, 3), (1, 3)])
    big = kernel == (1, 1)
    even = [c for c in CHANNELS if c % groups == 0]
    return Case(
        samples=draw.choice([1, 1, 2, 3]),
        channels=draw.choice(even),
        out=draw.choice(even),
        regions=draw.choice([1, 2, 5, 8, 8, 17]),
        size=draw.choice([(7, 7), (5, 9), (13, 11), (29, 31)] if big else [(7, 7), (5, 9)]),
        kernel=kernel,
        stride=draw.choice([(1, 1), (1, 1), (2, 2)]),
        padding=(0, 0) if big else draw.choice([(1, 1), (0, 2)]),
        dilation=(1, 1) if big else draw.choice([(1, 1), (1, 2)]),
        groups=groups,
        maps=draw.choice(MAPS),
        channels_last=draw.random() < 0.7,
        guide_last=draw.random() < 0.5,
        shared=draw.random() < 0.15,
        dtype=draw.choice([torch.float32] * 4 + [torch.bfloat16, torch.float16]),
    )


def logits(case: Case, size: torch.Size) -> Tensor:
    shape = (case.samples, case.regions, *size)
    match case.maps:
        case "smooth":
            coarse = torch.randn(case.samples, case.regions, 2, 2)
            made = F.interpolate(coarse, size=tuple(size), mode="bilinear") + 1e-3 * torch.randn(shape)
        case "scattered":
            made = torch.randn(shape)
        case "constant":
            made = torch.randn(case.samples, case.regions, 1, 1) + 1e-4 * torch.rand(shape)
        case _:
            made = torch.randn(shape)
            made[:, 1::2] -= 100.0
    return made.contiguous(memory_format=torch.channels_last) if case.guide_last else made


@dataclass(frozen=True)
class Arguments:
    x: Tensor
    filters: Tensor
    experts: Tensor
    coefficients: Tensor
    guide: Tensor
    bias: Tensor
    geometry: tuple[object, ...]


def arguments(case: Case, seed: int) -> Arguments:
    torch.manual_seed(seed)
    layout = torch.channels_last if case.channels_last else torch.contiguous_format
    x = torch.randn(case.samples, case.channels, *case.size).to(case.dtype).contiguous(memory_format=layout)
    one = (case.out, case.channels // case.groups, *case.kernel)
    filters = torch.randn(*(() if case.shared else (case.samples,)), case.regions, *one).to(case.dtype)
    experts = torch.randn(3, *one).to(case.dtype)
    geometry = (case.stride, case.padding, case.dilation, case.groups)
    size = F.conv2d(x[:1].float(), experts[0].float(), None, *geometry).shape[2:]
    coefficients = torch.rand(case.samples, case.regions, 3)
    return Arguments(
        x, filters, experts, coefficients, logits(case, size), torch.randn(case.out).to(case.dtype), geometry
    )


def wide(tensor: Tensor) -> Tensor:
    return tensor.detach().double().requires_grad_()


def close(got: Tensor, want: Tensor, tolerance: float) -> None:
    assert got.shape == want.shape
    got, want = got.detach(), want.detach()
    scale = max(1.0, float(want.abs().max()))
    assert float((got.double() - want).abs().max()) <= tolerance * scale


@pytest.mark.parametrize("seed", range(120))
def test_regions_forward_and_backward(seed: int) -> None:
    case = random_case(seed)
    given = arguments(case, seed)
    exact = [wide(t) for t in (given.x, given.filters, given.guide, given.bias)]
    want = region_conv2d_by_choice(*exact, *given.geometry)  # type: ignore[arg-type]
    grad = torch.randn_like(want).to(case.dtype)
    expected = torch.autograd.grad(want, exact, grad.double())
    ours = [t.detach().requires_grad_() for t in (given.x, given.filters, given.guide, given.bias)]
    got = region_conv2d(*ours, *given.geometry)  # type: ignore[arg-type]
    assert got.dtype == case.dtype
    close(got, want, TOLERANCE[case.dtype])
    gradients = torch.autograd.grad(got, ours, grad)
    for a, b in zip(gradients[:3], expected[:3], strict=True):
        close(a, b, TOLERANCE[case.dtype])
    regions = given.guide.argmax(1)
    fixed = region_conv2d(ours[0], ours[1], regions, ours[3], *given.geometry)  # type: ignore[arg-type]
    assert torch.equal(fixed, got)
    for a, b in zip(torch.autograd.grad(fixed, ours[:2], grad), expected[:2], strict=True):
        close(a, b, TOLERANCE[case.dtype])


@pytest.mark.parametrize("seed", range(1000, 1120))
def test_experts_forward_and_backward(seed: int) -> None:
    case = random_case(seed)
    given = arguments(case, seed)
    exact = [wide(t) for t in (given.x, given.experts, given.coefficients, given.guide, given.bias)]
    mixed = torch.einsum("nmk,k...->nm...", exact[2], exact[1])
    want = region_conv2d_by_choice(exact[0], mixed, exact[3], exact[4], *given.geometry)  # type: ignore[arg-type]
    grad = torch.randn_like(want).to(case.dtype)
    expected = torch.autograd.grad(want, exact, grad.double())
    ours = [t.detach().requires_grad_() for t in (given.x, given.experts, given.coefficients, given.guide, given.bias)]
    got = expert_region_conv2d(*ours, *given.geometry)  # type: ignore[arg-type]
    close(got, want, TOLERANCE[case.dtype])
    for a, b in zip(torch.autograd.grad(got, ours, grad)[:4], expected[:4], strict=True):
        close(a, b, TOLERANCE[case.dtype])


@pytest.fixture
def threads() -> Iterator[None]:
    """Three threads, though tests run on one otherwise: pieces are then cut smaller, and end in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("seed", range(2000, 2030))
def test_threads_agree_with_float64_and_runs_with_each_other_bit_by_bit(seed: int) -> None:
    case = random_case(seed)
    given = arguments(case, seed)
    tensors = (given.x, given.experts, given.coefficients, given.guide, given.bias)
    exact = [wide(t) for t in tensors]
    mixed = torch.einsum("nmk,k...->nm...", exact[2], exact[1])
    want = region_conv2d_by_choice(exact[0], mixed, exact[3], exact[4], *given.geometry)  # type: ignore[arg-type]
    grad = torch.randn_like(want).to(case.dtype)
    expected = torch.autograd.grad(want, exact, grad.double())
    runs = []
    for _ in range(2):
        ours = [t.detach().requires_grad_() for t in tensors]
        got = expert_region_conv2d(*ours, *given.geometry)  # type: ignore[arg-type]
        runs.append((got.detach(), *torch.autograd.grad(got, ours, grad)))
        close(got, want, TOLERANCE[case.dtype])
        for a, b in zip(runs[-1][1:5], expected[:4], strict=True):
            close(a, b, TOLERANCE[case.dtype])
        leaves = [t.detach().requires_grad_() for t in (given.x, given.filters, given.guide)]
        y = region_conv2d(*leaves, None, *given.geometry)  # type: ignore[arg-type]
        runs[-1] = (*runs[-1], y.detach(), *torch.autograd.grad(y, leaves, grad))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_pixel_reaches_only_the_positions_that_see_it(bad: float, kernel: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 24, 9, 9).contiguous(memory_format=torch.channels_last)
    filters, guide = torch.randn(2, 4, 24, 24, kernel, kernel), torch.randn(2, 4, 9, 9)
    clean = region_conv2d(x, filters, guide, padding=kernel // 2)
    x[1, 5, 4, 4] = bad
    got = region_conv2d(x, filters, guide, padding=kernel // 2)
    sees = torch.zeros(2, 9, 9, dtype=torch.bool)
    reach = kernel // 2
    sees[1, 4 - reach : 5 + reach, 4 - reach : 5 + reach] = True
    assert torch.equal(~torch.isfinite(got).all(1), sees)
    assert torch.equal(got.permute(0, 2, 3, 1)[~sees], clean.permute(0, 2, 3, 1)[~sees])


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_bad_filter_reaches_only_its_region(kernel: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 20, 7, 7, requires_grad=True)
    filters, guide = torch.randn(2, 4, 21, 20, kernel, kernel), torch.randn(2, 4, 7, 7)
    filters[0, 2, -1] = float("nan")  # the last of its filter's rows: what follows in memory is another region's
    filters.requires_grad_()
    y = region_conv2d(x, filters, guide, padding=kernel // 2)
    hit = guide.argmax(1) == 2
    hit[1] = False
    assert torch.equal(torch.isnan(y).any(1), hit)
    got = torch.autograd.grad(y.nan_to_num().sum(), (x, filters))
    assert torch.isfinite(got[1]).all()  # dW sums over g and x, which are clean
    fixed = region_conv2d(x, filters, guide.argmax(1), padding=kernel // 2)
    dx = torch.autograd.grad(fixed, x, torch.ones_like(fixed))[0]
    reached = F.conv_transpose2d(hit.float()[:, None], torch.ones(1, 1, kernel, kernel), padding=kernel // 2)[:, 0] > 0
    assert torch.equal(torch.isnan(dx).any(1), reached)


def test_filters_beyond_two_to_the_31_elements(tmp_path: Path) -> None:
    # A file with a hole: 8.6 GB of filters of which only the last region's, 256 KiB, are ever touched.
    regions, width = 2**15 + 1, 256
    path = tmp_path / "filters"
    with path.open("wb") as file:
        file.truncate(4 * regions * width * width)
    filters = torch.from_file(str(path), shared=True, size=regions * width * width)
    filters = filters.view(1, regions, width, width, 1, 1)
    torch.manual_seed(0)
    last = torch.randn(width, width, 1, 1)
    filters[0, -1] = last
    x = torch.randn(1, width, 2, 2)
    y = region_conv2d(x, filters, torch.full((1, 2, 2), regions - 1))
    close(y, F.conv2d(x.double(), last.double()), TOLERANCE[torch.float32])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("kernel", "stride", "guide_kernel"), [(1, 1, 1), (1, 2, 1), (3, 1, 3), (3, 2, 1), (1, 1, 3)])
def test_a_layer_in_one_op_is_the_layer_in_steps(
    layout: torch.memory_format, kernel: int, stride: int, guide_kernel: int
) -> None:
    torch.manual_seed(0)
    n, c, o, m, k = 2, 24, 58, 5, 3
    x = torch.randn(n, c, 13, 11).contiguous(memory_format=layout)
    experts, routing = torch.randn(k, o, c, kernel, kernel), torch.randn(m * k, c)
    routing_bias, guide, bias = torch.randn(m * k), torch.randn(m, c, guide_kernel, guide_kernel), torch.randn(o)
    windows = ((stride, stride), (kernel // 2, kernel // 2), (1, 1), 1)
    got = expert_layer(x, experts, routing, routing_bias, guide, bias, *windows, (guide_kernel // 2,) * 2)
    wide_ = [t.double() for t in (x, experts, routing, routing_bias, guide, bias)]
    coefficients = torch.sigmoid(F.linear(wide_[0].mean((2, 3)), wide_[2], wide_[3])) * 2 / k
    logits = F.conv2d(wide_[0], wide_[4], None, stride, guide_kernel // 2)
    filters = torch.einsum("nmk,k...->nm...", coefficients.view(n, m, k), wide_[1])
    want = region_conv2d_by_choice(wide_[0], filters, logits, wide_[5], *windows)
    best, second = logits.topk(2, 1).values.unbind(1)
    clear = best - second > 1e-4  # float32 may decide the others otherwise
    assert float(clear.float().mean()) > 0.99
    close(got.permute(0, 2, 3, 1)[clear], want.permute(0, 2, 3, 1)[clear], TOLERANCE[torch.float32])
    assert got.stride() == F.conv2d(x, experts[0], None, stride, kernel // 2).contiguous(memory_format=layout).stride()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"input": torch.zeros(1, 4, 2, 9)}, "smaller than the 3x3 kernel"),
        ({"experts": torch.zeros(2, 6, 5, 3, 3)}, "experts is"),
        ({"guide": torch.zeros(3, 5, 3, 3)}, "guide is"),
        ({"guide": torch.zeros(3, 4, 1, 1)}, "guide is"),
        ({"routing": torch.zeros(5, 4)}, "routing is"),
        ({"routing_bias": torch.zeros(5)}, "routing is"),
        ({"bias": torch.zeros(5)}, "bias is"),
    ],
)
def test_a_layer_whose_shapes_do_not_fit_is_refused(change: dict[str, Tensor], says: str) -> None:
    fits = {
        "input": torch.zeros(1, 4, 7, 7),
        "experts": torch.zeros(2, 6, 4, 3, 3),
        "routing": torch.zeros(6, 4),
        "routing_bias": torch.zeros(6),
        "guide": torch.zeros(3, 4, 3, 3),
        "bias": torch.zeros(6),
    }
    assert expert_layer(**fits, **WINDOWS).shape == (1, 6, 5, 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=says):
        expert_layer(**{**fits, **change}, **WINDOWS)  # type: ignore[arg-type]


WINDOWS = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "guide_padding": (0, 0)}
