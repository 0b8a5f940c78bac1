"""The table of layers against the networks themselves, walked at 224 px."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from drbench_kernels.bench.shapes import QUICK, SETS, Shape, choose, parse
from torch import nn
from torchvision import models

from drbench.models.mobilenet_v1 import MobileNetV1

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v2": models.mobilenet_v2,
    "shufflenet_v2_x0_5": models.shufflenet_v2_x0_5,
    "shufflenet_v2_x1_0": models.shufflenet_v2_x1_0,
    "resnet18": models.resnet18,
    "resnet50": models.resnet50,
}


def layers(name: str, kernel: int) -> set[Shape]:
    """All dense convolutions of a kernel size, stride 1, without saying whose they are."""
    found: set[Shape] = set()

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(module, nn.Conv2d)
        if module.kernel_size == (kernel, kernel) and module.groups == 1 and module.stride == (1, 1):
            _, channels, height, width = inputs[0].shape
            found.add(Shape(channels, module.out_channels, height, width, kernel))

    with torch.device("meta"):
        network = NETWORKS[name]().eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_pre_hook(note)
        network(torch.empty(1, 3, 224, 224))
    return found


def listed(name: str, shapes: Sequence[Shape]) -> set[Shape]:
    return {Shape(s.channels, s.outputs, s.height, s.width, s.kernel) for s in shapes if name in s.networks}


@pytest.mark.parametrize("name", [name for name in NETWORKS if "resnet" not in name])
def test_pointwise_layers_are_those_of_the_networks(name: str) -> None:
    assert listed(name, SETS["pointwise"]) == layers(name, 1)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_dense_layers_are_those_of_the_networks(name: str) -> None:
    assert listed(name, SETS["3x3"]) == layers(name, 3)


def test_no_shape_is_there_twice_and_names_are_read_back() -> None:
    names = [shape.name for shape in SETS["all"]]
    assert len(set(names)) == len(names)
    assert set(QUICK) < set(names)
    for shape in SETS["all"]:
        assert parse(shape.name) == Shape(shape.channels, shape.outputs, shape.height, shape.width, shape.kernel)


def test_any_shape_has_a_name() -> None:
    shape = parse("3x3-58-60@28x27s2")
    assert shape == Shape(58, 60, 28, 27, 3, 2)
    assert shape.name == "3x3-58-60@28x27s2"
    assert shape.output_size == (14, 14)
    assert shape.padding == 1
    assert shape.filter_size == 58 * 60 * 9


@pytest.mark.parametrize("name", ["2x2-3-4@5", "1x3-3-4@5", "1x1-0-4@5", "1x1-3-4", "conv", ""])
def test_what_is_no_name(name: str) -> None:
    assert parse(name) is None


def test_choosing() -> None:
    chosen = choose(["1x1-3-4@5", "1x1-1024-*", "1x1-24-24@*"], SETS["pointwise"])
    assert [shape.name for shape in chosen] == ["1x1-24-24@56", "1x1-24-24@28", "1x1-1024-1024@7", "1x1-3-4@5"]
    assert choose(["3x3-64-64@56"], SETS["pointwise"])[0].networks == ("resnet18", "resnet50")
    with pytest.raises(ValueError, match="fits none"):
        choose(["5x5-*"], SETS["all"])
