"""Shapes of a region convolution: checked once, here, so that every path may rely on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Pair = tuple[int, int]
LARGEST = 2**31 - 1
"""Of strides, paddings and dilations: products of two sizes stay within 64 bits."""


@dataclass(frozen=True)
class Geometry:
    """Stride, padding, dilation as pairs (height, width) and the number of groups."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def output_size(self, height: int, width: int, kernel: Pair) -> Pair:
        """(H', W') of a convolution over (height, width)."""
        h, w = (
            (size + 2 * pad - dilation * (k - 1) - 1) // stride + 1
            for size, pad, dilation, k, stride in zip(
                (height, width), self.padding, self.dilation, kernel, self.stride, strict=True
            )
        )
        return h, w


def pair(name: str, value: int | Sequence[int], least: int) -> Pair:
    """An int or two of them, each at least `least`; ValueError otherwise."""
    values = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(values) != 2 or any(isinstance(v, bool) or not isinstance(v, (int, torch.SymInt)) for v in values):
        raise ValueError(f"{name} is {value!r}: allowed is an int or a pair of ints")
    if any(v < least for v in values):
        raise ValueError(f"{name} is {value!r}: allowed is {least} or more")
    if any(v > LARGEST for v in values):
        raise ValueError(f"{name} is {value!r}: allowed is {LARGEST} or less")
    return values[0], values[1]


def same_padding(kernel: Pair, dilation: Pair) -> tuple[int, int, int, int]:
    """(left, right, top, bottom) of padding='same'; an odd remainder goes right and bottom, as in nn.Conv2d."""
    total_h, total_w = dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1)
    return total_w // 2, total_w - total_w // 2, total_h // 2, total_h - total_h // 2


def check(
    input: Tensor,
    filters: Tensor,
    guide: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    *,
    filters_name: str,
    filters_form: str,
    per_sample: bool,
) -> Pair:
    """Raise the ValueError that names the argument, what came and what is allowed; return (H', W').

    The last four sizes of `filters` are (O, C/groups, kh, kw), the size before them the number of regions, or of
    experts, whose agreement with `guide` the caller checks.
    """
    size = check_convolution(
        input, filters, bias, geometry, filters_name=filters_name, filters_form=filters_form, per_sample=per_sample
    )
    n = input.shape[0]
    check_dense("guide", guide, input.device)
    floating = guide.is_floating_point()
    if guide.dtype == torch.bool or guide.is_complex() or guide.dim() != (4 if floating else 3):
        raise ValueError(
            f"guide is {describe(guide)}: allowed is a floating (N, m, H', W') of logits or an integer (N, H', W')"
        )
    if guide.shape[0] != n or tuple(guide.shape[-2:]) != size:
        form = f"({n}, m, {size[0]}, {size[1]})" if floating else f"({n}, {size[0]}, {size[1]})"
        raise ValueError(f"guide is {describe(guide)}: allowed for this input and stride is {form}")
    return size


def check_convolution(
    input: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    *,
    filters_name: str,
    filters_form: str,
    per_sample: bool,
) -> Pair:
    """`check`, but for the guide."""
    check_dense("input", input)
    if input.dim() != 4 or not input.is_floating_point():
        raise ValueError(f"input is {describe(input)}: allowed is a floating (N, C, H, W)")
    check_dense(filters_name, filters, input.device)
    if filters.dim() not in ((5, 6) if per_sample else (5,)) or not filters.shape[-5]:
        raise ValueError(f"{filters_name} is {describe(filters)}: allowed is {filters_form}")
    n, c, height, width = input.shape
    out, depth, kh, kw = filters.shape[-4:]
    if not kh * kw:
        raise ValueError(f"{filters_name} is {describe(filters)}: allowed is a kernel of 1x1 or more")
    groups = geometry.groups
    if groups < 1 or c % groups or out % groups:
        raise ValueError(
            f"groups is {groups}: allowed is a divisor of both the {c} input and the {out} output channels"
        )
    if depth != c // groups:
        raise ValueError(
            f"{filters_name} has {depth} channels a filter: allowed is {c // groups} "
            f"(input has {c} channels in {groups} groups)"
        )
    if filters.dim() == 6 and filters.shape[0] != n:
        raise ValueError(f"{filters_name} is for {filters.shape[0]} samples: allowed is the input's {n}")
    if bias is not None:
        check_dense("bias", bias, input.device)
    for name, tensor in ((filters_name, filters), ("bias", bias)):
        if tensor is not None and not same_dtype(tensor, input):
            raise ValueError(f"{name} is {tensor.dtype}: allowed is the input's {input.dtype}")
    if bias is not None and tuple(bias.shape) != (out,):
        raise ValueError(f"bias is {describe(bias)}: allowed is ({out},)")
    size = geometry.output_size(height, width, (kh, kw))
    if size[0] < 1 or size[1] < 1:
        raise ValueError(
            f"input of {height}x{width} is smaller than the {kh}x{kw} kernel at dilation {geometry.dilation}: "
            f"pad more or use a larger input"
        )
    return size


def same_dtype(tensor: Tensor, input: Tensor) -> bool:
    """Whether the dtypes agree, or will once autocast has narrowed both (it leaves float64)."""
    if tensor.dtype == input.dtype:
        return True
    device = input.device.type
    narrowed = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return narrowed and tensor.is_floating_point() and torch.float64 not in (tensor.dtype, input.dtype)


def check_regions(guide: Tensor, regions: int, source: str) -> None:
    """A floating guide has one logit for each of the regions."""
    if guide.is_floating_point() and guide.shape[1] != regions:
        raise ValueError(f"guide has {guide.shape[1]} logits a position: allowed is {regions}, the regions of {source}")


def check_coefficients(coefficients: Tensor, input: Tensor, experts: int) -> None:
    """(N, m, K), in the input's dtype or in float32 with a narrower one."""
    n = input.shape[0]
    check_dense("coefficients", coefficients)
    given = tuple(coefficients.shape)
    if len(given) != 3 or (given[0], given[2]) != (n, experts) or not given[1]:
        raise ValueError(f"coefficients is {describe(coefficients)}: allowed is ({n}, m, {experts}) with m at least 1")
    wide = coefficients.dtype == torch.float32 and input.dtype in (torch.bfloat16, torch.float16)
    if coefficients.device != input.device or not (wide or same_dtype(coefficients, input)):
        raise ValueError(
            f"coefficients is {coefficients.dtype} on {coefficients.device}: "
            f"allowed is the input's {input.dtype}, or float32 with a narrower one, on {input.device}"
        )


def check_gradient(grad: Tensor, shape: tuple[int, ...]) -> None:
    """The gradient of an output of this shape."""
    check_dense("grad", grad)
    if tuple(grad.shape) != shape or not grad.is_floating_point():
        raise ValueError(f"grad is {describe(grad)}: allowed is a floating {shape}")


def check_dense(name: str, tensor: Tensor, device: torch.device | None = None) -> None:
    """A tensor, not a sparse one, and on `device`."""
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name} is a {type(tensor).__name__}: allowed is a tensor")
    if tensor.layout != torch.strided:
        raise ValueError(f"{name} is {tensor.layout}: allowed is a dense tensor")
    if device is not None and tensor.device != device:
        raise ValueError(f"{name} is on {tensor.device}: allowed is the input's {device}")


def describe(tensor: Tensor) -> str:
    """'float32 (2, 3, 8, 8)'."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
