"""CondConv, and DRConv with one region, which is the same up to the 2/K of the routing."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from drbench.operators import CondConv2d, DRConv2d

# the peer, nn.Conv2d, says this of even kernels
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")

ARGUMENTS = [
    {"kernel_size": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (2, 3), "padding": "same", "padding_mode": "replicate"},
    {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 2},
]


@pytest.mark.parametrize("arguments", ARGUMENTS)
@pytest.mark.parametrize("experts", [1, 4, 6])
def test_drconv_with_one_region_equals_it_up_to_the_routing(arguments, experts):
    torch.manual_seed(experts)
    cond = CondConv2d(4, 6, bias=False, experts=experts, dtype=torch.float64, **arguments)
    region = DRConv2d(4, 6, bias=False, regions=1, experts=experts, dtype=torch.float64, **arguments)
    with torch.no_grad():
        region.generator.bank.copy_(cond.conv.weight.view_as(region.generator.bank))
        region.generator.routing.load_state_dict(cond.routing.state_dict())
    x = torch.randn(3, 4, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(region(x), cond(x) * (2 / experts))


def test_every_sample_has_the_filter_that_its_mean_asks_for():
    layer = CondConv2d(4, 6, 3, padding=1, experts=5, dtype=torch.float64)
    x = torch.randn(3, 4, 7, 7, dtype=torch.float64)
    for n in range(3):
        weights = torch.sigmoid(layer.routing(x[n].mean((1, 2))))
        filters = torch.einsum("k,kf->f", weights, layer.conv.weight).view(6, 4, 3, 3)
        bias = torch.einsum("k,ko->o", weights, layer.conv.bias)
        torch.testing.assert_close(layer(x)[n], F.conv2d(x[n : n + 1], filters, bias, padding=1)[0])
    torch.testing.assert_close(layer(x[0]), layer(x)[0])


@pytest.mark.parametrize("arguments", ARGUMENTS)
@pytest.mark.parametrize("bias", [True, False])
def test_preserve_keeps_the_function(arguments, bias):
    conv = nn.Conv2d(4, 6, bias=bias, **arguments)
    layer = CondConv2d(4, 6, bias=bias, experts=5, **arguments)
    layer.preserve_(conv)
    x = torch.randn(2, 4, 9, 8)
    torch.testing.assert_close(layer(x), conv(x), atol=1e-5, rtol=1e-5)


def test_experts_of_a_layer_that_starts_at_zero_differ():
    conv = nn.Conv2d(4, 6, 3)
    nn.init.zeros_(conv.weight)
    layer = CondConv2d(4, 6, 3, experts=5)
    layer.preserve_(conv)
    x = torch.randn(2, 4, 9, 8)
    torch.testing.assert_close(layer(x), conv(x), atol=1e-5, rtol=0)
    assert layer.conv.weight.std(0).min() > 0


def test_cost():
    cost = CondConv2d(16, 24, 3, 2, 1, experts=4).cost((16, 12, 12))
    assert cost == {"conv": 36 * 24 * 16 * 9, "routing": 16 * 4, "mixing": 4 * 24 * 16 * 9}


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"^experts: "):
        CondConv2d(4, 6, 1, experts=0)
    with pytest.raises(ValueError, match=r"^input: got shape"):
        CondConv2d(4, 6, 1)(torch.zeros(1, 5, 3, 3))
    with pytest.raises(ValueError, match=r"^conv: got filters"):
        CondConv2d(4, 6, 1).preserve_(nn.Conv2d(4, 6, 3))
