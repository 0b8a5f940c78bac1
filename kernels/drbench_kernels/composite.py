"""The ops as plain PyTorch: all m convolutions and a choice, differentiable in every mode and to every order.

For the derivatives that the kernels do not compute: forward mode, second and higher ones. It takes m times the
multiply-adds of a kernel, and holds m outputs in memory.

The choice is a one-hot mask whose derivative is the softmax's, wherever it is differentiated: hard + (soft -
soft.detach()). So all modes and orders agree with one another, and first gradients are the paper's. A chosen value is
selected, not multiplied: a NaN stays in its region, except in a derivative by the guide, which needs all products.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from drbench_kernels.geometry import Pair

Ints = Sequence[int]


def region_conv2d(
    input: Tensor,
    filters: Tensor,
    guide: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    groups: int,
) -> Tensor:
    """The op `region_conv2d`: same arguments, same result."""
    own = _grouped(filters, groups)
    columns = _unfold(input, _kernel(filters), stride, padding, dilation, groups)
    hard, soft = _choice(guide, own.shape[1])
    chosen = _chosen(torch.matmul(own, columns), hard, soft)
    y = torch.unflatten(chosen.flatten(1, 2), 2, guide.shape[-2:])
    return y if bias is None else y + bias.view(-1, 1, 1)


def region_conv2d_backward(
    grad: Tensor,
    input: Tensor,
    filters: Tensor,
    guide: Tensor,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    groups: int,
    guide_learns: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The op `region_conv2d_backward`: same arguments, same results."""
    own = _grouped(filters, groups)
    columns = _unfold(input, _kernel(filters), stride, padding, dilation, groups)
    hard, soft = _choice(guide, own.shape[1])
    rows = torch.unflatten(grad.flatten(2), 1, (1, groups, grad.shape[1] // groups))
    products = torch.matmul(own.transpose(-1, -2), rows)
    grad_input = _fold(_chosen(products, hard, soft), input, _kernel(filters), stride, padding, dilation)
    met = torch.where(hard, rows, 0)  # what each region's filter met: the gradients at its own positions
    if soft is not None:
        met = met + soft.to(rows.dtype) * rows
    grad_filters = torch.matmul(met, columns.transpose(-1, -2))
    if filters.dim() == 5:
        grad_filters = grad_filters.sum(0)
    grad_guide = guide.new_empty(0)
    if guide_learns:
        scores = torch.unflatten((products * columns).sum((2, 3)), 2, guide.shape[-2:]).to(_wide(guide))
        mask = guide.to(_wide(guide)).softmax(1)
        grad_guide = (mask * (scores - (mask * scores).sum(1, keepdim=True))).to(guide.dtype)
    return grad_input, grad_filters.reshape(filters.shape), grad_guide


def expert_region_conv2d(
    input: Tensor,
    experts: Tensor,
    coefficients: Tensor,
    guide: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    groups: int,
) -> Tensor:
    """The op `expert_region_conv2d`: same arguments, same result."""
    return region_conv2d(input, mix(experts, coefficients), guide, bias, stride, padding, dilation, groups)


def expert_region_conv2d_backward(
    grad: Tensor,
    input: Tensor,
    experts: Tensor,
    coefficients: Tensor,
    guide: Tensor,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    groups: int,
    guide_learns: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The op `expert_region_conv2d_backward`: same arguments, same results."""
    grad_input, grad_filters, grad_guide = region_conv2d_backward(
        grad, input, mix(experts, coefficients), guide, stride, padding, dilation, groups, guide_learns
    )
    return grad_input, *unmix(grad_filters, experts, coefficients), grad_guide


def mix(experts: Tensor, coefficients: Tensor) -> Tensor:
    """Filters (N, m, O, C/groups, kh, kw) from experts (K, O, C/groups, kh, kw) and coefficients (N, m, K).

    All of them with or without more dimensions in front.
    """
    banks = experts.flatten(-4).to(coefficients.dtype).unsqueeze(-3)
    return torch.unflatten(torch.matmul(coefficients, banks).to(experts.dtype), -1, experts.shape[-4:])


def unmix(grad_filters: Tensor, experts: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of `mix` from that of its filters: experts' and coefficients'."""
    grad = grad_filters.flatten(-4).to(coefficients.dtype)
    banks = experts.flatten(-4).to(coefficients.dtype).unsqueeze(-3)
    shares = coefficients.flatten(-3, -2).transpose(-1, -2)
    grad_experts = torch.unflatten(torch.matmul(shares, grad.flatten(-3, -2)), -1, experts.shape[-4:])
    return grad_experts.to(experts.dtype), torch.matmul(grad, banks.transpose(-1, -2))


def _kernel(filters: Tensor) -> Pair:
    return filters.shape[-2], filters.shape[-1]


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _grouped(filters: Tensor, groups: int) -> Tensor:
    """(N or 1, m, G, O/G, D)."""
    own = filters if filters.dim() == 6 else filters.unsqueeze(0)
    return torch.unflatten(own, 2, (groups, own.shape[2] // groups)).flatten(4)


def _unfold(input: Tensor, kernel: Pair, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Tensor:
    """(N, 1, G, D, P): what each output position sees."""
    columns = F.unfold(input, kernel, tuple(dilation), tuple(padding), tuple(stride))
    return torch.unflatten(columns, 1, (1, groups, columns.shape[1] // groups))


def _fold(columns: Tensor, input: Tensor, kernel: Pair, stride: Ints, padding: Ints, dilation: Ints) -> Tensor:
    """The adjoint of `_unfold`, from (N, G, D, P)."""
    size = (input.shape[2], input.shape[3])
    return F.fold(columns.flatten(1, 2), size, kernel, tuple(dilation), tuple(padding), tuple(stride))


def _choice(guide: Tensor, count: int) -> tuple[Tensor, Tensor | None]:
    """Masks (N, m, 1, 1, P): which region each position is of, and a zero with the softmax's derivative."""
    floating = guide.is_floating_point()
    regions = (guide.max(1).indices if floating else guide.clamp(0, count - 1)).flatten(1)
    hard = regions[:, None, None, None] == torch.arange(count, device=guide.device).view(1, -1, 1, 1, 1)
    if not floating:
        return hard, None
    soft = guide.to(_wide(guide)).softmax(1).flatten(2)[:, :, None, None]
    return hard, soft - soft.detach()


def _chosen(products: Tensor, hard: Tensor, soft: Tensor | None) -> Tensor:
    """(N, G, *, P) from every region's (N, m, G, *, P)."""
    chosen = torch.where(hard, products, 0).sum(1)
    return chosen if soft is None else chosen + (soft.to(products.dtype) * products).sum(1)
