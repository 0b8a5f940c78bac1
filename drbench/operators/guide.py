"""The guide of Dynamic Region-Aware Convolution: which region every output position belongs to.

Chen, Wang, Guo, Zhang, Sun, "Dynamic Region-Aware Convolution", CVPR 2021, https://arxiv.org/abs/2003.12243
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from drbench.errors import InputError
from drbench.operators.geometry import Geometry, pad

POINT = Geometry((1, 1), (1, 1), (0, 0, 0, 0), (1, 1))
"""The released code's guide: 1x1 at the input's own resolution."""


class GuideConv2d(nn.Conv2d):
    """Region logits: (N,C,H,W) -> (N,regions,H',W'), without bias, in float32 or wider.

    Autocast is off inside: bfloat16 rounding alone moves about 0.2% of the positions to another region.
    """

    def __init__(self, in_channels: int, regions: int, geometry: Geometry = POINT, **factory: Any) -> None:
        super().__init__(
            in_channels,
            regions,
            geometry.kernel_size,
            geometry.stride,
            geometry.conv_padding,
            geometry.dilation,
            bias=False,
            **factory,
        )
        self.geometry = geometry
        self.own_pads = geometry.own_pads
        self.own_mode = geometry.padding_mode  # what torch calls padding_mode it would pad by itself

    def forward(self, input: Tensor) -> Tensor:
        """Logits (N,regions,H',W')."""
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            return self._logits(input)
        with full_precision(input.device.type):
            return self._logits(input)

    def _logits(self, input: Tensor) -> Tensor:
        padded = pad(widen(input, self.weight), self.own_pads, self.own_mode)
        return F.conv2d(padded, widen(self.weight, self.weight), None, self.stride, self.padding, self.dilation)

    def cost(self, input_shape: tuple[int, ...]) -> dict[str, int]:
        """Multiply-adds per sample for an input of (..., H, W)."""
        height, width = self.geometry.output_size(*input_shape[-2:])
        return {"guide": height * width * self.weight.numel()}


def widen(tensor: Tensor, own: Tensor) -> Tensor:
    """`tensor` in float32, or in float64 where `own` is; TorchScript compiles it."""
    return tensor.to(torch.float64 if own.dtype == torch.float64 else torch.float32)


def full_precision(device_type: str) -> AbstractContextManager[object]:
    """Within it autocast narrows nothing."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()  # "meta" knows no autocast


def fit(guide: Tensor, size: tuple[int, int], batch: int, regions: int) -> Tensor:
    """A guide that was handed in, nearest-resized to the output `size`.

    Logits (N,regions,h,w) or a region map (N,h,w) of integers; InputError otherwise.
    """
    logits = guide.is_floating_point()
    if guide.dim() != (4 if logits else 3) or guide.shape[0] != batch or (logits and guide.shape[1] != regions):
        raise InputError(
            f"guide: got shape {tuple(guide.shape)} of {guide.dtype}; expected floating logits ({batch}, {regions}, "
            f"h, w) or integer regions ({batch}, h, w)"
        )
    if tuple(guide.shape[-2:]) == size:
        return guide
    if logits:
        return F.interpolate(guide, size, mode="nearest")
    rows, columns = (
        torch.arange(new, device=guide.device) * old // new for new, old in zip(size, guide.shape[-2:], strict=True)
    )
    return guide[:, rows][:, :, columns]
