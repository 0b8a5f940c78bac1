"""Where a 2-D convolution's windows lie: kernel, stride, padding and dilation, checked once and used by every operator.

Paddings are kept per side and may be negative (a crop), because a guide with a smaller kernel than its layer must
still give the layer's output size.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import index
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from drbench import bounds
from drbench.errors import InputError
from drbench.text import rest

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
        choice("padding_mode", padding_mode, PADDING_MODES)
        if not isinstance(padding, str):
            top, left = pair("padding", padding, 0)
            return cls(kernel, steps, (left, left, top, top), dilations, padding_mode)
        if padding == "valid":
            return cls(kernel, steps, (0, 0, 0, 0), dilations, padding_mode)
        if padding != "same":
            raise InputError(f"padding: got {shown(padding)}; expected 'same', 'valid' or numbers")
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
        if not tracing() and (rows < 0 or columns < 0):  # sizes in a trace are tensors
            raise InputError(
                f"input: {height}x{width} is too small for kernel_size {self.kernel_size} with {self.pads}"
            )
        return rows // self.stride[0] + 1, columns // self.stride[1] + 1

    @property
    def own_pads(self) -> list[int]:
        """What `pad` pads: `pads`, or nothing where the convolution itself can."""
        return [0, 0, 0, 0] if self.native else list(self.pads)

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
        return pad(input, list(self.pads), self.padding_mode)


def pad(input: Tensor, pads: list[int], mode: str) -> Tensor:
    """Pad, or crop where negative, by (left, right, top, bottom) in one of PADDING_MODES; TorchScript compiles it."""
    crops = [min(p, 0) for p in pads]
    grows = [max(p, 0) for p in pads]
    if min(crops) < 0:
        input = F.pad(input, crops)
    if max(grows) > 0:
        input = F.pad(input, grows, mode="constant" if mode == "zeros" else mode)
    return input


def tracing() -> bool:
    """Whether torch.jit.trace is at work: sizes are tensors then, and there is nothing to check."""
    return not torch.compiler.is_compiling() and torch._C._is_tracing()  # in this order: dynamo knows the first alone


def shown(value: Any) -> str:
    """`value` for an error: short, whatever it is."""
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a whole number of {value.bit_length()} bits"  # int has no repr beyond 4300 digits
    try:
        text = repr(value)
    except Exception:  # somebody else's __repr__, or one of such an int within
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:60] + rest(len(text) - 60)


def _integer(value: Any) -> int | None:
    """`value` as an int where it is a whole number (numpy's too), else None."""
    if isinstance(value, (bool, Tensor)):
        return None
    try:
        return index(value)
    except TypeError:
        return None


def pair(name: str, value: Any, least: int, most: int = bounds.SIDE) -> tuple[int, int]:
    """`value` as (rows, columns), integers from `least` to `most`; InputError names the argument."""
    both = [_integer(v) for v in value] if isinstance(value, (tuple, list)) else [_integer(value)]
    if len(both) == 1:
        both *= 2
    found = [v for v in both if v is not None and least <= v <= most]
    if len(both) != 2 or len(found) != 2:
        raise InputError(
            f"{name}: got {shown(value)}; expected one or two whole numbers of at least {least}, at most {most}"
        )
    return found[0], found[1]


def whole(name: str, value: Any, least: int = 1, most: int = bounds.REGIONS) -> int:
    """`value` if it is an integer from `least` to `most`; InputError names the argument."""
    found = _integer(value)
    if found is None or not least <= found <= most:
        raise InputError(f"{name}: got {shown(value)}, allowed is a whole number of at least {least}, at most {most}")
    return found


def choice(name: str, value: Any, allowed: Iterable[str]) -> str:
    """`value` if it is one of `allowed`; InputError names the argument."""
    names = tuple(allowed)
    if not isinstance(value, str) or value not in names:
        raise InputError(f"{name}: got {shown(value)}; expected {', '.join(names)}")
    return value


def channels(in_channels: Any, out_channels: Any, groups: Any) -> tuple[int, int, int]:
    """All three as integers; InputError unless both channel counts are positive multiples of `groups`."""
    divisor = whole("groups", groups, most=bounds.CHANNELS)
    counts = []
    for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
        counts.append(whole(name, value, most=bounds.CHANNELS))
        if counts[-1] % divisor:
            raise InputError(f"{name}: {value} is no multiple of groups {divisor}")
    return counts[0], counts[1], divisor
