"""MobileNetV1, which torchvision does not build.

Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017,
https://arxiv.org/abs/1704.04861
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from drbench.models.channels import divisible

STAGES = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""(channels at width 1, stride) of every block."""


class DepthwiseSeparable(nn.Module):
    """3x3 depthwise and 1x1 pointwise convolution, each with batch norm and ReLU6."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.depthwise = Conv2dNormActivation(
            in_channels, in_channels, 3, stride, groups=in_channels, activation_layer=nn.ReLU6
        )
        self.pointwise = Conv2dNormActivation(in_channels, out_channels, 1, activation_layer=nn.ReLU6)

    def forward(self, input: Tensor) -> Tensor:
        """(N,C,H,W) -> (N,O,H/stride,W/stride)."""
        output: Tensor = self.pointwise(self.depthwise(input))
        return output


class MobileNetV1(nn.Module):
    """A stem, 13 depthwise separable blocks, global pooling and a linear classifier.

    `width` multiplies all channel counts, each rounded to a multiple of `divisor`.
    """

    def __init__(self, num_classes: int = 1000, width: float = 1.0, divisor: int = 8, dropout: float = 0.001) -> None:
        super().__init__()
        channels = divisible(32 * width, divisor)
        layers: list[nn.Module] = [Conv2dNormActivation(3, channels, 3, 2, activation_layer=nn.ReLU6)]
        for wide, stride in STAGES:
            layers.append(DepthwiseSeparable(channels, out := divisible(wide * width, divisor), stride))
            channels = out
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, input: Tensor) -> Tensor:
        """Images (N,3,H,W) -> logits (N,classes)."""
        logits: Tensor = self.classifier(self.features(input).mean((2, 3)))
        return logits
