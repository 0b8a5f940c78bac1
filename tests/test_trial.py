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
