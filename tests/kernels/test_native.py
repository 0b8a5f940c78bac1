"""The native CPU kernels against float64, over shapes where tiles, panels and vectors end in the middle."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
import torch
from drbench_kernels import expert_region_conv2d, native, region_conv2d
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
