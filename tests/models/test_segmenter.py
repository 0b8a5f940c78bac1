"""LR-ASPP: its cost on MobileNetV3-Large against torchvision's own network, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from drbench.errors import InputError
from drbench.models import create_model
from drbench.models.segmenter import LRASPP
from drbench.models.taps import backbone


def test_head_reads_the_taps_of_strides_8_and_32() -> None:
    network = LRASPP(backbone(create_model("mobilenet_v3_large_1.00"), (3, 128, 96)), 21).eval()
    assert network.names == ("features.6", "features.16")
    assert network(torch.randn(1, 3, 128, 96)).shape == (1, 21, 128, 96)


def test_parameters_are_those_of_torchvision() -> None:
    """torchvision's network reads the same modules; it has dilated convolutions in place of the last stride."""
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    theirs = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21)
    ours = LRASPP(backbone(create_model("mobilenet_v3_large_1.00"), (3, 64, 64)), 21)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters()) == 3_221_538


class OneTap(nn.Module):
    taps = ("layer",)

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, 8, 1)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.layer(input).mean((2, 3))


def test_one_tap_is_not_enough() -> None:
    with pytest.raises(InputError, match="got 'layer' alone; expected two or more"):
        LRASPP(backbone(OneTap(), (3, 32, 32)), 5)
