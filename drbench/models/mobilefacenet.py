"""MobileFaceNet, a network for face recognition: its output is an embedding, not logits.

Chen, Liu, Gao, Han, "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices", 2018,
https://arxiv.org/abs/1804.07573, table 1. Other networks of this name are twice as wide or have 512 outputs.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from drbench.models.channels import divisible

STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""(expansion, channels at width 1, blocks, stride of the first block) of every stage."""
STRIDE = 8
"""Total stride of the stages, behind the stem."""


def _layer(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False
) -> nn.Sequential:
    """Convolution and batch norm, then PReLU with a slope per channel unless `linear`."""
    layer: nn.Sequential = Conv2dNormActivation(
        in_channels, out_channels, kernel, stride, groups=groups, activation_layer=None
    )
    return layer if linear else layer.append(nn.PReLU(out_channels))


class Bottleneck(nn.Module):
    """1x1, depthwise 3x3 and linear 1x1 convolution; with a shortcut where the shape stays the same."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = expansion * in_channels
        self.conv = nn.Sequential(
            _layer(in_channels, inner, 1),
            _layer(inner, inner, 3, stride, groups=inner),
            _layer(inner, out_channels, 1, linear=True),
        )
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, input: Tensor) -> Tensor:
        """(N,C,H,W) -> (N,O,H/stride,W/stride)."""
        output: Tensor = self.conv(input)
        return input + output if self.is_residual else output


class MobileFaceNet(nn.Module):
    """A stem, 15 bottlenecks, and a depthwise convolution over the whole map in place of pooling.

    Args:
        embedding: number of outputs.
        width: multiplies all channel counts, each rounded to a multiple of `divisor`.
        input_size: (H, W) of the images, which the last depthwise convolution has to fit.
        stem_stride: of the first convolution.
    """

    def __init__(
        self,
        embedding: int = 128,
        width: float = 1.0,
        divisor: int = 8,
        input_size: tuple[int, int] = (112, 112),
        stem_stride: int = 2,
    ) -> None:
        super().__init__()
        channels = divisible(64 * width, divisor)
        layers: list[nn.Module] = [
            _layer(3, channels, 3, stem_stride),
            _layer(channels, channels, 3, groups=channels),
        ]
        for expansion, wide, blocks, stride in STAGES:
            for block in range(blocks):
                out = divisible(wide * width, divisor)
                layers.append(Bottleneck(channels, out, expansion, stride if block == 0 else 1))
                channels = out
        last = divisible(512 * width, divisor)
        layers.append(_layer(channels, last, 1))
        self.features = nn.Sequential(*layers)
        height, width_of_map = (-(-side // (STRIDE * stem_stride)) for side in input_size)
        self.whole = nn.Sequential(
            nn.Conv2d(last, last, (height, width_of_map), groups=last, bias=False), nn.BatchNorm2d(last)
        )
        self.embedding = nn.Sequential(nn.Conv2d(last, embedding, 1, bias=False), nn.BatchNorm2d(embedding))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, input: Tensor) -> Tensor:
        """Images (N,3,H,W) -> embeddings (N,embedding)."""
        output: Tensor = self.embedding(self.whole(self.features(input)))
        return output.flatten(1)
