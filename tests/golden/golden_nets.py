"""Networks and operators that the golden database names: some are sound, some fail on purpose."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Fine(nn.Module):
    """Sound."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).mean((2, 3))


class Small(nn.Module):
    """Learns the data set `shapes` within a second or two, better than chance."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 5, 2, 2), nn.BatchNorm2d(16), nn.ReLU())
        self.mix = nn.Sequential(nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Linear(16 * 16, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        found = self.mix(self.stem(images))
        return self.head(nn.functional.adaptive_avg_pool2d(found, 4).flatten(1))


class Raises(Fine):
    """Raises whenever it is called."""

    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("this network raises on purpose")


class Grows(Fine):
    """Allocates memory without end."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        kept = []
        while True:
            kept.append(torch.ones(1 << 22))


class Diverges(Fine):
    """Its loss is no number, so its training fails; its cost, memory and latency are fine."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * float("nan")


class Light(nn.Conv2d):
    """A convolution as it is, under a name of its own."""


class Heavy(nn.Conv2d):
    """A convolution that takes longer, holds more and learns nothing: worse than any other operator on purpose."""

    def forward(self, input: Tensor) -> Tensor:
        output = super().forward(input)
        for _ in range(20):
            output = output + super().forward(input)
        wasted = torch.ones(1 << 21)
        return output * 0.0 + wasted[:1].to(output)
