"""Where a 2-D convolution's windows lie: kernel, stride, padding and dilation, checked once and used by every operator.

Paddings are kept per side and may be negative (a crop), because a guide with a smaller kernel than its layer must
still give the layer's output size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from drbench.errors import InputError

Pair = int | tuple[int, int]
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


@dataclass(frozen=True)
class Geometry:
    """The windows of one layer. `pads` is (left, right, top, bottom), as torch.nn.functional.pad counts them."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int]
    padding_mode: str = "zeros"

    @classmethod
    def of(cls, kernel_size: Pair, stride: Pair, padding: Pair | str, dilation: Pair, padding_mode: str) -> Geometry:
        """Check nn.Conv2d's arguments. InputError (a ValueError) names the one that is wrong."""
        kernel, steps, dilations = (
            pair(name, value, 1)
            for name, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation))
        )
        if padding_mode not in PADDING_MODES:
            raise InputError(f"padding_mode: got {padding_mode!r}, allowed are {', '.join(PADDING_MODES)}")
        if not isinstance(padding, str):
            top, left = pair("padding", padding, 0)
            return cls(kernel, steps, (left, left, top, top), dilations, padding_mode)
        if padding == "valid":
            return cls(kernel, steps, (0, 0, 0, 0), dilations, padding_mode)
        if padding != "same":
            raise InputError(f"padding: got {padding!r}, allowed are 'same', 'valid' and numbers")
        if steps != (1, 1):
            raise InputError(f"padding: 'same' needs stride 1, got stride {steps}; give the padding in numbers")
        rows, columns = (d * (k - 1) for d, k in zip(dilations, kernel, strict=True))
        pads = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        return cls(kernel, steps, pads, dilations, padding_mode)

    def with_kernel(self, kernel_size: tuple[int, int]) -> Geometry:
        """Another kernel over the same windows: same stride, dilation and centres, same output size for any input."""
        rows, columns = (
            d * (old - new) for d, old, new in zip(self.dilation, self.kernel_size, kernel_size, strict=True)
        )
        left, right, top, bottom = self.pads
        pads = (left - columns // 2, right - (columns - columns // 2), top - rows // 2, bottom - (rows - rows // 2))
        return replace(self, kernel_size=kernel_size, pads=pads)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Output height and width. InputError where the input is smaller than the kernel."""
        left, right, top, bottom = self.pads
        spans = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        rows, columns = height + top + bottom - spans[0], width + left + right - spans[1]
        if not torch._C._is_tracing() and (rows < 0 or columns < 0):  # sizes in a trace are tensors
            raise InputError(
                f"input: {height}x{width} is too small for kernel_size {self.kernel_size} with {self.pads}"
            )
        return rows // self.stride[0] + 1, columns // self.stride[1] + 1

    @property
    def native(self) -> bool:
        """Whether the convolution itself can pad: zeros, the same amount on opposite sides."""
        left, right, top, bottom = self.pads
        return self.padding_mode == "zeros" and left == right >= 0 and top == bottom >= 0

    @property
    def conv_padding(self) -> tuple[int, int]:
        """What is left for the convolution to pad after `pad`."""
        return (self.pads[2], self.pads[0]) if self.native else (0, 0)

    def pad(self, input: Tensor) -> Tensor:
        """Pad (or crop) what the convolution can't pad itself; (N,C,H,W) in and out."""
        if self.native:
            return input
        crops = [min(p, 0) for p in self.pads]
        grows = [max(p, 0) for p in self.pads]
        if any(crops):
            input = F.pad(input, crops)
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        return F.pad(input, grows, mode=mode) if any(grows) else input


def pair(name: str, value: Any, least: int) -> tuple[int, int]:
    """`value` as (rows, columns), both integers of at least `least`; InputError names the argument."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) == 1:
        both *= 2
    if len(both) != 2 or not all(isinstance(v, int) and not isinstance(v, bool) and v >= least for v in both):
        raise InputError(f"{name}: got {value!r}, allowed are one or two whole numbers of at least {least}")
    return both


def whole(name: str, value: Any, least: int = 1) -> int:
    """`value` if it is an integer of at least `least`; InputError names the argument."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name}: got {value!r}, allowed is a whole number of at least {least}")
    return value


def check_channels(in_channels: Any, out_channels: Any, groups: Any) -> None:
    """InputError unless both channel counts are positive multiples of `groups`."""
    whole("groups", groups)
    for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
        if whole(name, value) % groups:
            raise InputError(f"{name}: {value} is no multiple of groups {groups}")
