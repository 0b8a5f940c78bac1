"""Blocks whose converted layers share one guide, made from the block's input.

This is how the authors' released code of DRConv does it (https://arxiv.org/abs/2003.12243): one 1x1 guide per block on
the input of its main branch, at that input's resolution, nearest-resized where a stride lies between.
A block becomes guided by changing its class: its parameters keep their names, the guide is one more child, and the
guide travels through `forward` as an ordinary tensor, so that compilation, export and copies hold.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torchvision.models import mobilenetv2, mobilenetv3, shufflenetv2

from drbench.models.mobilenet_v1 import DepthwiseSeparable


def shares_guide(module: nn.Module) -> bool:
    """Whether a layer can be handed a guide: an operator with `make_guide`."""
    return callable(getattr(module, "make_guide", None))


def run(layers: Iterable[nn.Module], x: Tensor, guide: Tensor) -> Tensor:
    """`layers` one after the other, the guide handed to those that take one."""
    for layer in layers:
        if isinstance(layer, nn.Sequential):
            x = run(layer, x, guide)
        else:
            x = layer(x, guide) if shares_guide(layer) else layer(x)
    return x


class GuidedShuffleNetV2Block(shufflenetv2.InvertedResidual):  # type: ignore[misc]
    """torchvision's ShuffleNetV2 block; the guide sees what the main branch sees."""

    guide: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """As the plain block's."""
        if self.stride == 1:
            left, right = x.chunk(2, dim=1)
            out = torch.cat((left, run(self.branch2, right, self.guide(right))), dim=1)
        else:
            guide = self.guide(x)
            out = torch.cat((run(self.branch1, x, guide), run(self.branch2, x, guide)), dim=1)
        shuffled: Tensor = shufflenetv2.channel_shuffle(out, 2)
        return shuffled


class GuidedMobileNetV1Block(DepthwiseSeparable):
    """Our MobileNetV1 block."""

    guide: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        """As the plain block's."""
        return run((self.depthwise, self.pointwise), input, self.guide(input))


class GuidedMobileNetV2Block(mobilenetv2.InvertedResidual):  # type: ignore[misc]
    """torchvision's MobileNetV2 block."""

    guide: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """As the plain block's."""
        out = run(self.conv, x, self.guide(x))
        return x + out if self.use_res_connect else out


class GuidedMobileNetV3Block(mobilenetv3.InvertedResidual):  # type: ignore[misc]
    """torchvision's MobileNetV3 block."""

    guide: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        """As the plain block's."""
        out = run(self.block, input, self.guide(input))
        return out + input if self.use_res_connect else out


GUIDED: dict[type[nn.Module], type[nn.Module]] = {
    shufflenetv2.InvertedResidual: GuidedShuffleNetV2Block,
    DepthwiseSeparable: GuidedMobileNetV1Block,
    mobilenetv2.InvertedResidual: GuidedMobileNetV2Block,
    mobilenetv3.InvertedResidual: GuidedMobileNetV3Block,
}


def input_channels(block: nn.Module) -> int:
    """Channels that the block's main branch sees."""
    main = block.branch2 if isinstance(block, shufflenetv2.InvertedResidual) else block
    counts = (getattr(module, "in_channels", None) for module in main.modules())
    return next(count for count in counts if isinstance(count, int))


def unsuitable(name: str, block: nn.Module) -> str | None:
    """Why the layers of a block can't share a guide, as "a layer ..."; None if they can."""
    if type(block) not in GUIDED:
        kind = f"{type(block).__module__}.{type(block).__name__}"
        return f"a layer of {name!r}, a {kind}, which can't share a guide (guide='own' gives each layer its own)"
    if "forward" in vars(block):
        return f"a layer of {name!r}, whose method 'forward' was replaced, so that it can't share a guide"
    if hasattr(block, "guide"):
        return f"a layer of {name!r}, which has a 'guide' already"
    return None


def share(block: nn.Module, guide: nn.Module) -> None:
    """Give the block a guide, in place."""
    block.__class__ = GUIDED[type(block)]
    block.add_module("guide", guide)


def unshare(block: nn.Module) -> None:
    """Undo `share`."""
    block.__class__ = next(plain for plain, guided in GUIDED.items() if guided is type(block))
    del block.guide
