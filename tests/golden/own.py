"""Networks and an operator of a user's own, which the kept runs name. Their hash is recorded: never edit this file."""

from __future__ import annotations

import torch
from torch import nn


class Doubled(nn.Conv2d):
    """A convolution of twice its input; declares no cost."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(1):
            result = super().forward(2 * x)
        return result


def _network(channels: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, stride=2, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, num_classes),
    )


def tiny(num_classes: int = 10, channels: int = 8) -> nn.Module:
    return _network(channels, num_classes)


def broad(num_classes: int = 10, channels: int = 16) -> nn.Module:
    return _network(channels, num_classes)


class Stuck(nn.Module):
    """Works in evaluation and raises in training."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.network = _network(4, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            raise RuntimeError("this network cannot be trained")
        return self.network(x)


def stuck(num_classes: int = 10) -> nn.Module:
    return Stuck(num_classes)
