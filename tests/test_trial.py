"""Inputs for somebody's network."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn

from drbench import trial


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: torchvision.models.inception_v3(weights=None, init_weights=False), (3, 299, 299)),
        (lambda: torchvision.models.vit_b_16(weights=None), (3, 224, 224)),
        (lambda: torchvision.models.video.r3d_18(weights=None), (3, 16, 112, 112)),
        (lambda: timm.create_model("test_byobnet.r160_in1k"), (3, 160, 160)),
        (lambda: nn.Conv2d(5, 5, 1), (5, 64, 64)),
        (lambda: nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(3, 8, 1)), (8, 64, 64)),
        (lambda: nn.LazyConv2d(5, 1), (3, 64, 64)),
    ],
)
def test_the_first_shape_is_the_networks_own(build, shape):
    with torch.device("meta"):
        model = build()
    assert trial.usual_shapes(model)[0] == shape


def test_images_are_the_same_each_time_and_the_global_generator_is_left_alone():
    model = nn.Conv2d(3, 3, 1)
    state = torch.get_rng_state()
    first, second = (trial.image(model, (3, 4, 4)) for _ in range(2))
    assert torch.equal(first.args[0], second.args[0])
    assert torch.equal(torch.get_rng_state(), state)
    assert trial.image(nn.Conv2d(3, 3, 1, dtype=torch.float16), (3, 4, 4)).args[0].dtype == torch.float16


def test_a_forward_that_writes_to_its_inputs_writes_to_a_copy():
    class Writes(nn.Module):
        def forward(self, x):
            return x.add_(1)

    inputs = torch.zeros(2)
    trial.given(inputs)(Writes())
    assert inputs.sum() == 0


class Writes(nn.Module):
    """Renormalises its weights whenever it runs, as layers with a constraint do, and counts its calls."""

    def __init__(self, how) -> None:
        super().__init__()
        self.conv, self.norm, self.how = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), how

    def forward(self, x):
        if self.how == "set":
            self.conv.weight.data = torch.renorm(self.conv.weight.data, 2, 0, 0.1)
        else:
            self.conv.weight.data.mul_(0.1)
        self.norm.num_batches_tracked += 1
        return self.norm(self.conv(x))


@pytest.mark.parametrize("how", ["set", "in place"])
def test_weights_that_a_forward_writes_are_put_back(how):
    model = Writes(how)
    weight, address = model.conv.weight.clone(), model.conv.weight.data_ptr()
    with trial.undisturbed(model) as running:
        trial.image(running, (3, 8, 8))(running)
        assert not torch.equal(running.conv.weight, weight)
    assert torch.equal(model.conv.weight, weight)
    assert model.conv.weight.data_ptr() == address
    assert model.norm.num_batches_tracked == 0
    assert model.training


def test_a_copy_has_the_weights_and_not_the_tensors():
    model = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3))
    again = trial.copied(model)
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(again(x), model(x))
    again.parametrizations.weight.original0.data.zero_()
    assert not torch.equal(again(x), model(x))


def test_a_network_that_was_made_in_inference_mode_runs():
    with torch.inference_mode():
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    with trial.undisturbed(model) as running:
        assert trial.image(running, (3, 8, 8))(running).shape == (1, 8, 6, 6)
