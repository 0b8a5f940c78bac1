"""Geometry against torch's own convolution."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from drbench.errors import InputError
from drbench.operators.geometry import PADDING_MODES, Geometry, channels, pair, whole

# the peer, nn.Conv2d, says this of even kernels
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")

CONFIGURATIONS = [
    # kernel, stride, padding, dilation
    (1, 1, 0, 1),
    (1, 2, 0, 1),
    (3, 1, 1, 1),
    (3, 2, 1, 1),
    (5, 3, "valid", 1),
    (3, 1, "same", 2),
    ((2, 3), 1, "same", 1),
    ((3, 2), (2, 1), (1, 0), (1, 2)),
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), CONFIGURATIONS)
@pytest.mark.parametrize("mode", PADDING_MODES)
def test_pads_and_sizes_are_those_of_conv2d(kernel, stride, padding, dilation, mode):
    conv = nn.Conv2d(2, 3, kernel, stride, padding, dilation, padding_mode=mode).double()
    geometry = Geometry.of(kernel, stride, padding, dilation, mode)
    x = torch.randn(2, 2, 11, 9, dtype=torch.float64)
    expected = conv(x)
    got = F.conv2d(geometry.pad(x), conv.weight, conv.bias, geometry.stride, geometry.conv_padding, geometry.dilation)
    torch.testing.assert_close(got, expected)
    assert geometry.output_size(11, 9) == tuple(expected.shape[-2:])


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), CONFIGURATIONS)
def test_another_kernel_keeps_the_output_size_of_every_input(kernel, stride, padding, dilation):
    geometry = Geometry.of(kernel, stride, padding, dilation, "zeros")
    for size in itertools.product((1, 2, 3, 5), repeat=2):
        other = geometry.with_kernel(size)
        for side in range(9, 17):
            x = torch.zeros(1, 1, side, side + 1)
            weight = torch.zeros(1, 1, *size)
            out = F.conv2d(other.pad(x), weight, None, other.stride, other.conv_padding, other.dilation)
            assert tuple(out.shape[-2:]) == geometry.output_size(side, side + 1) == other.output_size(side, side + 1)


def test_a_smaller_kernel_sits_at_the_centre_of_the_larger_one():
    geometry = Geometry.of(5, 2, "valid", 1, "zeros")
    point = geometry.with_kernel((1, 1))
    x = torch.arange(81.0).view(1, 1, 9, 9)
    centre = torch.zeros(1, 1, 5, 5)
    centre[..., 2, 2] = 1
    expected = F.conv2d(x, centre, None, 2)
    torch.testing.assert_close(F.conv2d(point.pad(x), torch.ones(1, 1, 1, 1), None, 2), expected)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((0, 1, 0, 1, "zeros"), "kernel_size"),
        ((3, 0, 0, 1, "zeros"), "stride"),
        ((3, 1, -1, 1, "zeros"), "padding"),
        ((3, 1, 0, (1, 2, 3), "zeros"), "dilation"),
        ((3, 1, "full", 1, "zeros"), "padding"),
        ((3, 2, "same", 1, "zeros"), "padding"),
        ((3, 1, 0, 1, "mirror"), "padding_mode"),
        ((True, 1, 0, 1, "zeros"), "kernel_size"),
    ],
)
def test_errors_name_the_argument(arguments, named):
    with pytest.raises(InputError, match=rf"^{named}: "):
        Geometry.of(*arguments)


def test_an_input_smaller_than_the_kernel_is_refused():
    with pytest.raises(InputError, match=r"^input: 2x2 is too small"):
        Geometry.of(3, 1, 0, 1, "zeros").output_size(2, 2)


def test_numbers_are_checked():
    assert pair("stride", [2], 1) == (2, 2)
    for value in (0, -1, "x", 1.5, True, None):
        with pytest.raises(InputError, match=r"^regions: got"):
            whole("regions", value)
    with pytest.raises(InputError, match=r"^out_channels: 5 is no multiple of groups 2"):
        channels(4, 5, 2)
