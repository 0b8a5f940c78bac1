"""Depthwise region convolution, one input channel a filter: tap by tap, every position with the tap of its own filter.

A GEMM per region and group would be thousands of products of one column. Here each tap is one selection of weights and
one multiplication of whole images. Selection is by index: a NaN at one position cannot reach another.

Shapes: input (N, C, H, W), filters (S, m, O, 1, kh, kw) with S = N or 1 (shared by the batch) and O a multiple of C,
regions (N*P,) int64. Computed in float32 or wider.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from drbench_kernels.geometry import Geometry, Pair


def forward(input: Tensor, filters: Tensor, regions: Tensor, geometry: Geometry, size: Pair) -> Tensor:
    """(N, O, H', W')."""
    x, weights, index = _prepare(input, filters, regions, geometry)
    n, channels = input.shape[:2]
    result = x.new_zeros(n, *size, channels, filters.shape[2] // channels)
    for weight, seen in zip(weights, _taps(x, filters, geometry, size), strict=True):
        result.addcmul_(seen.unsqueeze(-1), weight.index_select(0, index).view_as(result))
    return result.flatten(3).permute(0, 3, 1, 2)


def backward(
    grad: Tensor, input: Tensor, filters: Tensor, regions: Tensor, geometry: Geometry, guide_learns: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """dX (as the input), dW (as `filters`) and, where the guide learns, dF~ (N*P, m).

    On a GPU the sums of dW are in no fixed order, unless torch.use_deterministic_algorithms asks for one.
    """
    x, weights, index = _prepare(input, filters, regions, geometry)
    (n, channels, height, width), (samples, count, out) = input.shape, filters.shape[:3]
    size = grad.shape[2], grad.shape[3]
    grad_out = grad.to(x.dtype).permute(0, 2, 3, 1).reshape(n, *size, channels, -1)
    grad_x, grad_weights = torch.zeros_like(x), torch.zeros_like(weights)
    scores = x.new_zeros(n, size[0] * size[1], count) if guide_learns else None
    views = zip(_taps(x, filters, geometry, size), _taps(grad_x, filters, geometry, size), strict=True)
    for weight, grad_weight, (seen, grad_seen) in zip(weights, grad_weights, views, strict=True):
        grad_seen += (grad_out * weight.index_select(0, index).view_as(grad_out)).sum(-1)
        products = (grad_out * seen.unsqueeze(-1)).reshape(-1, out)
        grad_weight.index_add_(0, index, products)
        if scores is not None:
            scores += torch.matmul(products.view(n, -1, out), weight.view(samples, count, out).transpose(1, 2))
    top, left = geometry.padding
    grad_input = grad_x[:, top : top + height, left : left + width].permute(0, 3, 1, 2)
    grad_filters = grad_weights.view(-1, samples, count, out).permute(1, 2, 3, 0).reshape(filters.shape)
    return grad_input, grad_filters, None if scores is None else scores.view(-1, count)


def _prepare(input: Tensor, filters: Tensor, regions: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor, Tensor]:
    """The input (N, H, W, C), padded; weights (taps, S*m, O); and each position's row of them."""
    wide = torch.promote_types(input.dtype, torch.float32)
    top, left = geometry.padding
    x = F.pad(input.to(wide).permute(0, 2, 3, 1), (0, 0, left, left, top, top))
    samples, count, out = filters.shape[:3]
    weights = filters.to(wide).reshape(samples * count, out, -1).permute(2, 0, 1).contiguous()
    if samples > 1:
        first = torch.arange(samples, device=regions.device).mul_(count).unsqueeze(1)
        regions = (regions.view(samples, -1) + first).view(-1)
    return x.contiguous(), weights, regions


def _taps(x: Tensor, filters: Tensor, geometry: Geometry, size: Pair) -> Iterator[Tensor]:
    """What every output position sees at each tap: views (N, H', W', C) of `x`."""
    for i in range(filters.shape[4]):
        for j in range(filters.shape[5]):
            row, column = i * geometry.dilation[0], j * geometry.dilation[1]
            rows = slice(row, row + (size[0] - 1) * geometry.stride[0] + 1, geometry.stride[0])
            columns = slice(column, column + (size[1] - 1) * geometry.stride[1] + 1, geometry.stride[1])
            yield x[:, rows, columns]
