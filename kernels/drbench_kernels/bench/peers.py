"""What a region convolution is measured against: what people write today, with gradients of all their arguments.

Forward: input (N, C, H, W), bias (O,), -> (N, O, H', W'). Each is written for speed in plain PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from drbench_kernels import by_torch
from drbench_kernels.geometry import Geometry


def per_sample(input: Tensor, filters: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    """One filter for each sample, (N, O, C, k, k): no regions, so no region convolution with filters of its own can
    be expected to do better. One bmm where k = 1, a convolution of N groups elsewhere."""
    samples, out, depth, kernel = filters.shape[:4]
    if kernel > 1:
        packed = input.reshape(1, samples * depth, *input.shape[2:])
        output = F.conv2d(packed, filters.flatten(0, 1), None, stride, padding, groups=samples)
        return output.view(samples, out, *output.shape[2:]) + bias.view(-1, 1, 1)
    return _pointwise(input[:, :, ::stride, ::stride], filters.flatten(2), bias)


def all_and_pick(input: Tensor, filters: Tensor, guide: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    """All m results at every position, then the one that the guide names: (N, m, O, C, k, k) and (N, m, H', W')."""
    samples, regions, out = filters.shape[:3]
    flat = filters.flatten(1, 2)
    products = per_sample(input, flat, bias.repeat(regions), stride, padding)
    return _Pick.apply(products.view(samples, regions, out, *products.shape[2:]), guide)  # type: ignore[no-any-return]


def sort_gemm(input: Tensor, filters: Tensor, guide: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    """Positions sorted by region, one GEMM for each: our own path in PyTorch alone, whatever else there is."""
    return _SortGemm.apply(input, filters, guide, bias, stride, padding)  # type: ignore[no-any-return]


def _pointwise(input: Tensor, filters: Tensor, bias: Tensor) -> Tensor:
    """(N, O, C) filters on every position; in channels_last without a copy of input or output."""
    samples, _, height, width = input.shape
    if input.is_contiguous(memory_format=torch.channels_last):
        rows = input.permute(0, 2, 3, 1).reshape(samples, height * width, -1)
        product = torch.baddbmm(bias, rows, filters.transpose(1, 2))
        return product.view(samples, height, width, -1).permute(0, 3, 1, 2)
    product = torch.baddbmm(bias.unsqueeze(1), filters, input.flatten(2))
    return product.view(samples, -1, height, width)


class _Pick(torch.autograd.Function):
    """products (N, m, O, H', W'), logits (N, m, H', W') -> (N, O, H', W'); softmax stands in for the mask backward."""

    @staticmethod
    def forward(ctx: Any, products: Tensor, guide: Tensor) -> Tensor:
        chosen = guide.argmax(1, keepdim=True)
        ctx.save_for_backward(products, guide, chosen)
        index = chosen.unsqueeze(2).expand(-1, -1, products.shape[2], -1, -1)
        return products.gather(1, index).squeeze(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        products, guide, chosen = ctx.saved_tensors
        (grad,) = grads
        index = chosen.unsqueeze(2).expand(-1, -1, products.shape[2], -1, -1)
        grad_products = torch.zeros_like(products).scatter_(1, index, grad.unsqueeze(1))
        scores = torch.einsum("nohw,nmohw->nmhw", grad, products).float()
        soft = guide.softmax(1)
        return grad_products, soft * (scores - (soft * scores).sum(1, keepdim=True))


class _SortGemm(torch.autograd.Function):
    """The ops' PyTorch implementation, called past the dispatcher, which would choose a faster one."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, filters: Tensor, guide: Tensor, bias: Tensor, stride: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(input, filters, guide)
        ctx.geometry = Geometry((stride, stride), (padding, padding), (1, 1), 1)
        return by_torch.region_forward(input, filters, guide, bias, ctx.geometry)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        input, filters, guide = ctx.saved_tensors
        gradients = by_torch.region_backward(grad, input, filters, guide, ctx.geometry, True)
        return *gradients, grad.sum((0, 2, 3)), None, None
