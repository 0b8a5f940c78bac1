"""Depthwise on every CPU path, against m plain convolutions and a choice, in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from drbench_kernels import expert_layer, expert_region_conv2d, native, region_conv2d
from drbench_kernels.paths import expert_region_conv2d_executed
from drbench_kernels.reference import region_conv2d_by_choice
from torch import Tensor
from torch.nn import functional as F

PATHS = ("native", "torch")
# Sums of at most 25 products of N(0, 1) in float32; of 100 where positions are added up.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 5e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}
# samples, channels (below, at, beyond the vectors), outputs a channel, regions, size, kernel, stride, padding, dilation
SHAPES = [
    (2, 5, 1, 3, (6, 5), (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 16, 1, 8, (7, 7), (3, 3), (2, 2), (1, 1), (1, 1)),
    (3, 7, 2, 1, (6, 6), (2, 3), (1, 1), (0, 0), (1, 1)),
    (2, 20, 1, 13, (5, 5), (1, 1), (1, 1), (0, 0), (1, 1)),
    (1, 40, 1, 5, (6, 5), (1, 1), (2, 1), (1, 0), (1, 1)),
    (2, 6, 3, 2, (13, 9), (5, 5), (2, 1), (2, 2), (2, 1)),
    (1, 150, 1, 3, (4, 5), (3, 3), (1, 1), (1, 1), (1, 1)),
]


@pytest.fixture(params=PATHS)
def path(request) -> Iterator[str]:
    if request.param == "native":
        if not native.ready():
            pytest.skip(f"no native kernels: {native.why_not()}")
        yield request.param
        return
    with native.switched_off():
        yield request.param


def close(got: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    got, expected = got.detach().double(), expected.detach().double()
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(got, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


def drawn(
    shape: tuple, dtype: torch.dtype, shared: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, dict]:
    """Input, filters, guide, bias, grad and windows."""
    n, channels, each, regions, size, kernel, stride, padding, dilation = shape
    x = torch.randn(n, channels, *size).to(dtype)
    filters = torch.randn(*(() if shared else (n,)), regions, channels * each, 1, *kernel).to(dtype)
    bias = torch.randn(channels * each).to(dtype)
    windows = {"stride": stride, "padding": padding, "dilation": dilation, "groups": channels}
    out = F.conv2d(x.double(), torch.zeros(channels, 1, *kernel).double(), **windows).shape[-2:]
    return x, filters, torch.randn(n, regions, *out), bias, torch.randn(n, channels * each, *out).to(dtype), windows


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_the_definition_and_so_do_all_gradients(path, shape, fixed, dtype):
    torch.manual_seed(0)
    x, filters, guide, bias, grad, windows = drawn(shape, dtype, shared=fixed)
    guide = guide.to(torch.promote_types(dtype, torch.float32))
    leaves = [t.clone().requires_grad_() for t in (x, filters, bias)]
    chosen = guide.argmax(1) if fixed else guide.requires_grad_()
    wide = [t.double().clone().requires_grad_() for t in (x, filters, bias)]
    logits = chosen if fixed else guide.double().detach().requires_grad_()
    y = region_conv2d(leaves[0], leaves[1], chosen, leaves[2], **windows)
    expected = region_conv2d_by_choice(wide[0], wide[1], logits, wide[2], **windows)
    close(y, expected, dtype)
    y.backward(grad)
    expected.backward(grad.double())
    for leaf, right in zip(leaves, wide, strict=True):
        close(leaf.grad, right.grad, dtype)
    if not fixed:
        close(guide.grad, logits.grad, dtype)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_experts_are_the_filters_that_they_mix_to(path, shape, fixed):
    torch.manual_seed(0)
    x, filters, guide, bias, grad, windows = drawn(shape, torch.float32)
    experts, coefficients = torch.randn(4, *filters.shape[2:]), torch.randn(*filters.shape[:2], 4)
    chosen = guide.argmax(1) if fixed else guide

    def gradients(dtype: torch.dtype, mixed: bool) -> list[Tensor]:
        leaves = [t.to(dtype).clone().requires_grad_() for t in (x, experts, coefficients, bias)]
        own = chosen if fixed else chosen.to(dtype).clone().requires_grad_()
        if mixed:
            made = torch.einsum("nmk,k...->nm...", leaves[2], leaves[1])
            y = region_conv2d(leaves[0], made, own, leaves[3], **windows)
        else:
            y = expert_region_conv2d(leaves[0], leaves[1], leaves[2], own, leaves[3], **windows)
        y.backward(grad.to(dtype))
        return [y, *(leaf.grad for leaf in leaves), *(() if fixed else (own.grad,))]

    expected = gradients(torch.float64, mixed=True)  # held against the definition above
    for got, right in zip(gradients(torch.float32, mixed=False), expected, strict=True):
        close(got, right, torch.float32)
    for got, right in zip(gradients(torch.float64, mixed=False), expected, strict=True):
        close(got, right, torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_layer_in_one_op_is_its_steps(path, shape):
    torch.manual_seed(0)
    x, filters, _, bias, _, windows = drawn(shape, torch.float32)
    regions, kernel = filters.shape[1], filters.shape[-2:]
    experts, guide = torch.randn(4, *filters.shape[2:]), torch.randn(regions, x.shape[1], *kernel)
    routing, routing_bias = torch.randn(regions * 4, x.shape[1]), torch.randn(regions * 4)
    places = [windows[name] for name in ("stride", "padding", "dilation")]
    got = expert_layer(x, experts, routing, routing_bias, guide, bias, *places, x.shape[1], windows["padding"])
    coefficients = torch.sigmoid(F.linear(x.mean((2, 3)), routing, routing_bias)).view(-1, regions, 4) / 2
    logits = F.conv2d(x, guide, None, *places)
    close(got, expert_region_conv2d(x, experts, coefficients, logits, bias, **windows), torch.float32)


def test_layouts_stay_and_agree(path):
    x, filters, guide, bias, grad, windows = drawn(SHAPES[0], torch.float32)
    last = {"memory_format": torch.channels_last}
    for images in (x, x.contiguous(**last)):
        leaf = images.clone(memory_format=torch.preserve_format).requires_grad_()
        y = region_conv2d(leaf, filters, guide, bias, **windows)
        y.backward(grad)
        assert y.is_contiguous(**last) == leaf.grad.is_contiguous(**last) == images.is_contiguous(**last)
        close(y, region_conv2d(x, filters, guide, bias, **windows), torch.float32)


def test_nan_reaches_no_other_position_and_no_other_region(path):
    x, filters, _, _, grad, windows = drawn((1, 4, 1, 2, (4, 9), (1, 1), (1, 1), (0, 0), (1, 1)), torch.float32)
    x[..., :4] = torch.nan
    regions = (torch.arange(9) >= 4).long().expand(1, 4, 9)  # region 0 is where the NaN is
    leaves = [x.requires_grad_(), filters.requires_grad_()]
    y = region_conv2d(*leaves, regions, **windows)
    y.backward(grad)
    assert y[..., :4].isnan().all()
    assert y[..., 4:].isfinite().all()
    assert leaves[1].grad[:, 0].isnan().all()
    assert leaves[1].grad[:, 1].isfinite().all()
    assert leaves[0].grad.isfinite().all()


def test_autocast_around_a_backward_narrows_nothing_of_the_mixing(path):
    x, filters, guide, bias, grad, windows = drawn(SHAPES[0], torch.float32)
    experts, coefficients = torch.randn(4, *filters.shape[2:]), torch.randn(*filters.shape[:2], 4)

    def gradient(inside: bool) -> Tensor:
        leaf = experts.clone().requires_grad_()
        y = expert_region_conv2d(x, leaf, coefficients, guide, bias, **windows)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=inside):
            y.backward(grad)
        return leaf.grad

    close(gradient(True), gradient(False), torch.float32)


def test_executed_multiply_adds_are_those_of_mixing_and_one_filter_a_position():
    shape = (2, 32, 7, 7), (8, 32, 1, 3, 3), 4
    for dtype in (torch.float32, torch.float64):
        assert expert_region_conv2d_executed(*shape, dtype=dtype) == 2 * (4 * 8 * 32 * 9 + 49 * 32 * 9)
