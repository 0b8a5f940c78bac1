"""Backbones: taps of every architecture, plain and converted, against the modules' own outputs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from drbench.errors import InputError
from drbench.models import ARCHITECTURES, create_model
from drbench.models.taps import backbone

SHAPE = (3, 96, 64)
FAMILIES = {one.family: name for name, one in reversed(ARCHITECTURES.items())}


def by_hooks(model: nn.Module, names: tuple[str, ...], images: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name in names:
        model.get_submodule(name).register_forward_hook(lambda m, i, o, name=name: found.__setitem__(name, o))
    with torch.no_grad():
        model(images)
    return found


@pytest.mark.parametrize("operator", ["conv", "drconv"])
@pytest.mark.parametrize("family", FAMILIES)
def test_maps_are_those_of_the_network(family: str, operator: str) -> None:
    options: dict[str, Any] = {"operator": operator, "input_shape": SHAPE, "seed": 0}
    model = create_model(FAMILIES[family], **options).eval()
    found = backbone(model, SHAPE)
    strides = (4, 8, 16) if family == "mobilefacenet" else (4, 8, 16, 32)
    assert tuple(tap.stride for tap in found.taps) == strides
    images = torch.randn(2, *SHAPE)
    expected = by_hooks(copy.deepcopy(model), tuple(tap.name for tap in found.taps), images)
    with torch.no_grad():
        maps = found(images)
    for tap in found.taps:
        assert maps[tap.name].shape == (2, tap.channels, 96 // tap.stride, 64 // tap.stride)
        assert torch.equal(maps[tap.name], expected[tap.name])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_taps_are_modules_of_every_architecture(name: str) -> None:
    with torch.device("meta"):
        modules = dict(ARCHITECTURES[name].build().named_modules())
    assert set(ARCHITECTURES[name].taps) <= set(modules)


@pytest.mark.parametrize(
    ("name", "behind"), [("mobilenet_v2_0.35", "classifier"), ("mobilenetv4_conv_small", "conv_head")]
)
def test_layers_behind_the_last_tap_are_removed_and_weights_shared(name: str, behind: str) -> None:
    model = create_model(name, num_classes=7)
    found = backbone(model, (3, 64, 64))
    kept = {key.removeprefix("body.") for key in found.state_dict()}
    assert any(key.startswith(behind) for key in model.state_dict())
    assert kept < set(model.state_dict())
    assert not any(key.startswith(behind) for key in kept)
    first = next(iter(found.parameters()))
    assert first is next(iter(model.parameters()))


def test_channels_of_a_published_detector() -> None:
    """ODConv's Faster R-CNN reads MobileNetV2 at 24, 32, 96 and 1,280 channels."""
    found = backbone(create_model("mobilenet_v2_1.00"), (3, 64, 64))
    assert [tap.channels for tap in found.taps] == [24, 32, 96, 1280]


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25", "mobilenetv4_conv_small"])
def test_training_mode_is_kept_and_gradients_reach_the_network(name: str) -> None:
    model = create_model(name, operator="drconv", input_shape=(3, 64, 64)).train()
    found = backbone(model, (3, 64, 64)).train()
    assert model.training
    sum(value.mean() for value in found(torch.randn(2, 3, 64, 64)).values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None for p in found.parameters())


class Own(nn.Module):
    def __init__(self, taps: Any = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 4, 1)
        self.second = nn.Conv2d(4, 6, 3, 2, 1)
        self.head = nn.Linear(6, 2)
        if taps is not None:
            self.taps = taps

    def forward(self, input: Tensor) -> Tensor:
        return self.head(self.second(self.first(input)).mean((2, 3)))


def test_complaint_3_a_network_of_ones_own_names_its_taps() -> None:
    found = backbone(Own(["first", "second"]), (3, 32, 32))
    assert [(tap.name, tap.channels, tap.stride) for tap in found.taps] == [("first", 4, 4), ("second", 6, 8)]


class Branching(Own):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input if input.sum() > 0 else -input)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Own(), "the Own names none; expected an attribute `taps`"),
        (Own("first"), "names none"),
        (Own(["third"]), "got 'third'; expected names of modules of the Own"),
        (Own(["head"]), r"'head' gives a tensor of shape \(1, 2\); expected a feature map"),
        (Branching(["first"]), "the Branching cannot be traced by torch.fx"),
    ],
)
def test_complaint_3_wrong_taps_are_one_line(model: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        backbone(model, (3, 32, 32))
    assert "\n" not in str(caught.value)
