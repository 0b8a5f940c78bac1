"""What every entry of OPERATORS must hold; a new one is tested without a new test."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from drbench.operators import OPERATORS

# the peer, nn.Conv2d, says this of even kernels
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")

ARGUMENTS = [
    {"kernel_size": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 2},
    {"kernel_size": (2, 3), "padding": "same", "padding_mode": "reflect"},
]


@pytest.fixture(params=OPERATORS)
def operator(request):
    torch._dynamo.reset()
    return OPERATORS[request.param]


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_is_a_drop_in_for_conv2d(operator, arguments):
    layer, plain = operator(4, 6, **arguments), nn.Conv2d(4, 6, **arguments)
    x = torch.randn(2, 4, 9, 8)
    assert layer(x).shape == plain(x).shape
    assert layer(x[0]).shape == plain(x[0]).shape
    layer.preserve_(plain)
    torch.testing.assert_close(layer(x), plain(x), atol=1e-5, rtol=1e-5)


def test_takes_device_and_dtype(operator):
    layer = operator(4, 6, 3, device="meta", dtype=torch.float64)
    assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.float64)}


def test_cost_gives_whole_numbers_and_grows_with_the_input(operator):
    layer = operator(4, 6, 3, padding=1)
    small, large = layer.cost((4, 8, 8)), layer.cost((4, 16, 16))
    assert all(isinstance(value, int) and value >= 0 for value in small.values())
    assert sum(large.values()) > sum(small.values())


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_compiles_and_exports_in_one_graph(operator, arguments):
    layer = operator(4, 6, **arguments)
    x = torch.randn(2, 4, 9, 8)
    expected = layer(x)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), expected)
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), expected)


def test_copies_hold(operator):
    layer, x = operator(4, 6, 3), torch.randn(2, 4, 9, 8)
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))
