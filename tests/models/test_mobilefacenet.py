"""MobileFaceNet: its published cost, its shapes, the convolutions that are replaced."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from drbench.models import create_model
from drbench.models.mobilefacenet import MobileFaceNet


@pytest.mark.parametrize(
    ("size", "madds", "params"), [((112, 112), 220_965_376, 1_003_136), ((112, 96), 189_408_256, 999_552)]
)
def test_cost_counted_by_hand(size: tuple[int, int], madds: int, params: int) -> None:
    """Multiply-adds of all convolutions from shapes seen by hooks; 221.0 M and 1.003 M are known of the network."""
    network = MobileFaceNet(input_size=size)
    counted = []

    def count(layer: nn.Module, inputs: object, output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        counted.append(layer.weight[0].numel() * output[0].numel())

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    assert network.eval()(torch.randn(1, 3, *size)).shape == (1, 128)
    assert sum(counted) == madds
    assert sum(p.numel() for p in network.parameters()) == params


@pytest.mark.parametrize(("side", "stride"), [(112, 2), (64, 2), (48, 1), (33, 1), (100, 2)])
def test_it_fits_any_input(side: int, stride: int) -> None:
    options = {"num_classes": 32, "width": 0.25, "input_shape": (3, side, side), "stem_stride": stride}
    network = create_model("mobilefacenet", **options)  # type: ignore[arg-type]
    assert network(torch.randn(2, 3, side, side)).shape == (2, 32)


def test_defaults_are_the_published_ones() -> None:
    network = create_model("mobilefacenet")
    assert network.variant.input_shape == (3, 112, 112)  # type: ignore[union-attr]
    assert network.variant.num_classes == 128  # type: ignore[union-attr]


def test_recipes_replace_its_pointwise_convolutions() -> None:
    for recipe, count in (("last-pointwise", 15), ("pointwise", 30)):
        network = create_model("mobilefacenet", operator="drconv", where=recipe, width=0.25)
        assert len(network.conversion.replacements) == count  # type: ignore[union-attr]
