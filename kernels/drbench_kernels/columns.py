"""The convolution as a matrix product: every output position becomes a row of the inputs it sees.

X[g, n*P + p, d]: group g, sample n, output position p, d over the (C/groups)*kh*kw inputs of the position. A 1x1
convolution needs no unfold: its rows are the pixels themselves, a view when the input is channels_last.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from drbench_kernels.geometry import Geometry, Pair


def is_pointwise(kernel: Pair, geometry: Geometry) -> bool:
    """Whether each output position sees one pixel."""
    return kernel == (1, 1) and geometry.padding == (0, 0)


def to_rows(input: Tensor, kernel: Pair, geometry: Geometry) -> Tensor:
    """(N, C, H, W) -> (groups, N*P, (C/groups)*kh*kw)."""
    n, c = input.shape[:2]
    groups = geometry.groups
    if is_pointwise(kernel, geometry):
        pixels = input[:, :, :: geometry.stride[0], :: geometry.stride[1]].permute(0, 2, 3, 1)
        if groups == 1:
            return pixels.reshape(1, -1, c)
        return pixels.reshape(-1, groups, c // groups).transpose(0, 1).contiguous()
    unfolded = F.unfold(input, kernel, geometry.dilation, geometry.padding, geometry.stride)
    depth = c // groups * kernel[0] * kernel[1]
    return unfolded.view(n, groups, depth, -1).permute(1, 0, 3, 2).reshape(groups, -1, depth)


def from_rows(rows: Tensor, input: Tensor, kernel: Pair, geometry: Geometry, size: Pair) -> Tensor:
    """The adjoint of `to_rows`: adds each row's entries onto the pixels they came from; shape and layout of `input`."""
    n, c, height, width = input.shape
    result = empty_like_layout(input, (n, c, height, width))
    if is_pointwise(kernel, geometry):
        pixels = rows.transpose(0, 1).reshape(n, *size, c).permute(0, 3, 1, 2)
        if geometry.stride != (1, 1):
            result.zero_()
        result[:, :, :: geometry.stride[0], :: geometry.stride[1]] = pixels
        return result
    positions = size[0] * size[1]
    unfolded = rows.view(geometry.groups, n, positions, -1).permute(1, 0, 3, 2).reshape(n, -1, positions)
    folded = F.fold(unfolded, (height, width), kernel, geometry.dilation, geometry.padding, geometry.stride)
    return result.copy_(folded)


def output_rows(rows: Tensor, output: Tensor) -> Tensor:
    """Lay (groups, N*P, O/groups) out in `output` (N, O, H', W')."""
    n, out, height, width = output.shape
    return output.copy_(rows.transpose(0, 1).reshape(n, height, width, out).permute(0, 3, 1, 2))


def gradient_rows(grad: Tensor, groups: int) -> Tensor:
    """(N, O, H', W') -> (groups, N*P, O/groups)."""
    out = grad.shape[1]
    rows = grad.permute(0, 2, 3, 1).reshape(-1, groups, out // groups)
    return rows.transpose(0, 1).contiguous()


def is_channels_last(tensor: Tensor) -> bool:
    """Whether `tensor` is laid out channels_last and not just both at once, as a 1x1 image is."""
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def empty_like_layout(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """An empty (N, C, H, W) with dtype, device and memory format of `like`."""
    memory_format = torch.channels_last if is_channels_last(like) else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=memory_format)
