"""Every entry of ARCHITECTURES, against the libraries that also build it and against the papers' rules."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn

from drbench.errors import InputError
from drbench.models import ARCHITECTURES, create_model
from drbench.models.channels import between, divisible

PEERS = {
    "mobilenet_v2_1.00": lambda: torchvision.models.mobilenet_v2(),
    "mobilenet_v2_0.35": lambda: torchvision.models.mobilenet_v2(width_mult=0.35),
    "mobilenet_v3_small_1.00": lambda: torchvision.models.mobilenet_v3_small(),
    "mobilenet_v3_large_1.00": lambda: torchvision.models.mobilenet_v3_large(),
    "shufflenet_v2_x0_5": lambda: torchvision.models.shufflenet_v2_x0_5(),
    "shufflenet_v2_x1_0": lambda: torchvision.models.shufflenet_v2_x1_0(),
    "shufflenet_v2_x1_5": lambda: torchvision.models.shufflenet_v2_x1_5(),
    "shufflenet_v2_x2_0": lambda: torchvision.models.shufflenet_v2_x2_0(),
    "mobilenetv4_conv_small": lambda: timm.create_model("mobilenetv4_conv_small"),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_classifies_small_images_with_a_small_stem(name):
    architecture = ARCHITECTURES[name]
    model = architecture.build(num_classes=7, stem_stride=1, input_size=(32, 32)).eval()
    seen = {}
    stem = model.get_submodule(architecture.first)
    stem.register_forward_hook(lambda module, inputs, output: seen.update(size=tuple(output.shape[-2:])))
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    assert seen["size"] == (32, 32)


@pytest.mark.parametrize("name", PEERS)
def test_has_the_parameters_of_the_library_that_also_builds_it(name):
    ours = {key: value.shape for key, value in ARCHITECTURES[name].build().state_dict().items()}
    assert ours == {key: value.shape for key, value in PEERS[name]().state_dict().items()}


@pytest.mark.parametrize("size", ["small", "large"])
def test_narrow_mobilenet_v3_follows_the_paper_as_timm_does(size):
    def shapes(model: nn.Module) -> list[tuple[int, ...]]:
        return sorted(tuple(parameter.squeeze().shape) for parameter in model.parameters())

    ours, theirs = ARCHITECTURES[f"mobilenet_v3_{size}_0.75"].build(), timm.create_model(f"mobilenetv3_{size}_075")
    assert shapes(ours) == shapes(theirs)


@pytest.mark.parametrize(("name", "millions"), [("0.25", 0.47), ("0.50", 1.34), ("0.75", 2.59), ("1.00", 4.24)])
def test_mobilenet_v1_has_the_published_parameters(name, millions):
    model = ARCHITECTURES[f"mobilenet_v1_{name}"].build()
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25", "mobilenet_v2_0.35", "mobilenet_v3_small_0.75"])
def test_any_width_is_built(name):
    architecture = ARCHITECTURES[name]
    sizes = [
        sum(p.numel() for p in architecture.build(width=w, divisor=1).parameters()) for w in (0.3, 0.61, 0.62, 1.3)
    ]
    assert sizes == sorted(set(sizes))


def test_shufflenets_other_widths_lie_between_the_published_ones():
    channels = [
        ARCHITECTURES["shufflenet_v2_x0_5"].build(width=width).get_submodule("stage4.1.branch2.5").out_channels * 2
        for width in (0.5, 0.75, 1.0, 3.0)
    ]
    assert channels == [192, 2 * 164, 464, 4 * 366]


def test_strides_leave_the_stem_from_behind():
    model = ARCHITECTURES["shufflenet_v2_x0_5"].build(stem_stride=2)
    assert isinstance(model.maxpool, nn.Identity)
    assert model.conv1[0].stride == (2, 2)
    assert ARCHITECTURES["shufflenet_v2_x0_5"].stem_stride == 4
    assert ARCHITECTURES["mobilenet_v2_1.00"].stem_stride == 2


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25", "shufflenet_v2_x0_5", "mobilenetv4_conv_small"])
def test_images_need_not_be_rgb(name):
    model = create_model(name, input_shape=(1, 32, 32), num_classes=5).eval()
    assert model(torch.zeros(1, 1, 32, 32)).shape == (1, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stem_stride": 3}, r"^stem_stride: got 3, allowed for this architecture are 1, 2"),
        ({"num_classes": 0}, r"^num_classes: got 0"),
        ({"num_classes": "10"}, r"^num_classes: got '10'; expected a whole number"),
        ({"in_channels": True}, r"^in_channels: got True"),
        ({"divisor": 1.5}, r"^divisor: got 1.5"),
        ({"stem_stride": "2"}, r"^stem_stride: got '2'"),
        ({"width": "1"}, r"^width: got '1'; expected a multiplier"),
        ({"width": float("nan")}, r"^width: got nan"),
        ({"width": -1.0}, r"^width: got -1"),
        ({"dropuot": 0.1}, r"^architecture_args .*dropuot"),
    ],
)
def test_errors_say_what_is_allowed(arguments, message):
    with pytest.raises(InputError, match=message):
        ARCHITECTURES["mobilenet_v2_0.35"].build(**arguments)


def test_channel_rounding():
    # Sandler et al. 2018: to the nearest multiple, but never more than 10% below
    assert [divisible(c, 8) for c in (3, 8, 11.2, 12, 20, 33.6, 84)] == [8, 8, 16, 16, 24, 32, 88]
    assert [divisible(c, 1) for c in (0.2, 11.4, 11.5)] == [1, 11, 12]
    table = ((1.0, 10.0), (2.0, 40.0))
    assert [between(table, width) for width in (0.5, 1.0, 1.5, 2.0, 3.0)] == [5.0, 10.0, 25.0, 40.0, 60.0]
