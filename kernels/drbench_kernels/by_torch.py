"""The region convolutions in PyTorch alone, on any device and in any dtype: where nothing faster is at hand.

    region_forward, region_backward     filters at hand (by_region)
    expert_forward, expert_backward     filters mixed from experts: by_region or by_expert, as `paths.torch_path` says

Filters that see one channel are computed by `depthwise`, mixed beforehand where they are of experts.

`drbench_kernels.gpu` has functions of the same names and arguments. Tensors are those of the public functions.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from drbench_kernels import by_expert, by_region, depthwise, paths
from drbench_kernels.columns import empty_like_layout, from_rows, gradient_rows, output_rows, to_rows
from drbench_kernels.geometry import Geometry, Pair


def region_forward(input: Tensor, filters: Tensor, guide: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """(N, O, H', W') in dtype and memory format of `input`."""
    output = empty_output(input, filters, geometry)
    grouped = by_region.grouped_filters(filters, geometry.groups)
    regions = regions_of(guide, grouped.shape[1])
    if output.numel() and paths.is_depthwise(filters.shape):
        output.copy_(
            depthwise.forward(input, _per_sample(filters), regions, geometry, (output.shape[2], output.shape[3]))
        )
    elif output.numel():
        rows = to_rows(input, _kernel(filters), geometry)
        output_rows(by_region.forward(rows, grouped, regions), output)
    return output if bias is None else output.add_(bias.view(-1, 1, 1))


def region_backward(
    grad: Tensor, input: Tensor, filters: Tensor, guide: Tensor, geometry: Geometry, guide_learns: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of input, filters and (where `guide_learns`; else an empty tensor) guide."""
    kernel = _kernel(filters)
    grouped = by_region.grouped_filters(filters, geometry.groups)
    regions = regions_of(guide, grouped.shape[1])
    grad_guide = torch.zeros_like(guide) if guide_learns else guide.new_empty(0)
    if not grad.numel():
        return torch.zeros_like(input), torch.zeros_like(filters), grad_guide
    if paths.is_depthwise(filters.shape):
        grad_input, grad_own, learned = depthwise.backward(
            grad, input, _per_sample(filters), regions, geometry, guide_learns
        )
        if learned is not None:
            grad_guide = _guide_gradient(guide, learned)
        result = empty_like_layout(input, tuple(input.shape)).copy_(grad_input)
        return result, grad_own.reshape(filters.shape).to(filters.dtype), grad_guide
    rows, grad_out = to_rows(input, kernel, geometry), gradient_rows(grad, geometry.groups)
    grad_filters = by_region.backward_filters(rows, grad_out, grouped, regions).reshape(filters.shape).contiguous()
    if guide_learns:
        grad_rows, scores = by_region.backward_rows_and_guide(rows, grad_out, grouped, regions)
        grad_guide = _guide_gradient(guide, scores)
    else:
        grad_rows = by_region.backward_rows(grad_out, grouped, regions)
    return from_rows(grad_rows, input, kernel, geometry, (grad.shape[2], grad.shape[3])), grad_filters, grad_guide


def expert_forward(
    input: Tensor, experts: Tensor, coefficients: Tensor, guide: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    """(N, O, H', W') in dtype and memory format of `input`."""
    if paths.is_depthwise(experts.shape):
        return region_forward(input, _mixed(experts, coefficients), guide, bias, geometry)
    output = empty_output(input, experts, geometry)
    count = coefficients.shape[1]
    regions = regions_of(guide, count)
    if output.numel():
        rows = to_rows(input, _kernel(experts), geometry)
        positions = output.shape[2] * output.shape[3]
        if paths.torch_path(positions, prod(experts.shape[1:]), count, experts.shape[0]) == paths.BY_EXPERT:
            products = by_expert.forward(rows, _grouped_experts(experts, geometry.groups), coefficients, regions)
        else:
            filters = by_region.grouped_filters(_mixed(experts, coefficients), geometry.groups)
            products = by_region.forward(rows, filters, regions)
        output_rows(products, output)
    return output if bias is None else output.add_(bias.view(-1, 1, 1))


def expert_backward(
    grad: Tensor,
    input: Tensor,
    experts: Tensor,
    coefficients: Tensor,
    guide: Tensor,
    geometry: Geometry,
    guide_learns: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of input, experts, coefficients and (where `guide_learns`; else an empty tensor) guide."""
    if paths.is_depthwise(experts.shape):
        filters = _mixed(experts, coefficients)
        grad_input, grad_filters, grad_guide = region_backward(grad, input, filters, guide, geometry, guide_learns)
        return grad_input, *_unmixed(grad_filters, experts, coefficients), grad_guide
    kernel = _kernel(experts)
    regions = regions_of(guide, coefficients.shape[1])
    grad_guide = torch.zeros_like(guide) if guide_learns else guide.new_empty(0)
    if not grad.numel():
        return torch.zeros_like(input), torch.zeros_like(experts), torch.zeros_like(coefficients), grad_guide
    rows, grad_out = to_rows(input, kernel, geometry), gradient_rows(grad, geometry.groups)
    grad_rows, grad_experts, grad_coefficients, scores = by_expert.backward(
        rows, grad_out, _grouped_experts(experts, geometry.groups), coefficients, regions
    )
    if guide_learns:
        grad_guide = _guide_gradient(guide, scores)
    grad_input = from_rows(grad_rows, input, kernel, geometry, (grad.shape[2], grad.shape[3]))
    return grad_input, grad_experts.reshape(experts.shape).contiguous(), grad_coefficients.contiguous(), grad_guide


def empty_output(input: Tensor, filters: Tensor, geometry: Geometry) -> Tensor:
    """An empty (N, O, H', W') in dtype and memory format of `input`."""
    size = geometry.output_size(input.shape[2], input.shape[3], _kernel(filters))
    return empty_like_layout(input, (input.shape[0], filters.shape[-4], *size))


def regions_of(guide: Tensor, count: int) -> Tensor:
    """(N*P,) int64 region of every position: the argmax of the logits (ties: the lowest), or the integers given.

    An integer out of range is refused on a CPU; elsewhere, where looking would stall the device, it is clamped.
    """
    if guide.is_floating_point():
        return guide.max(1).indices.reshape(-1)  # what argmax gives, ten times sooner on a CPU
    regions = guide.reshape(-1).to(torch.int64)
    if regions.device.type == "cpu" and regions.numel():
        low, high = (int(v) for v in torch.aminmax(regions))
        if low < 0 or high >= count:
            raise ValueError(f"guide holds region {low if low < 0 else high}: allowed is 0 to {count - 1}")
    return regions.clamp(0, count - 1)


def _guide_gradient(guide: Tensor, scores: Tensor) -> Tensor:
    """dF from dF~ (N*P, m) through the softmax that stands in for the mask; in float32 at least."""
    n, count, height, width = guide.shape
    precise = torch.promote_types(guide.dtype, torch.float32)
    soft = guide.to(precise).softmax(1)
    scores = scores.to(precise).view(n, height, width, count).permute(0, 3, 1, 2)
    return (soft * (scores - (soft * scores).sum(1, keepdim=True))).to(guide.dtype).contiguous()


def _per_sample(filters: Tensor) -> Tensor:
    """(N or 1, m, O, C/groups, kh, kw)."""
    return filters if filters.dim() == 6 else filters.unsqueeze(0)


def _mixed(experts: Tensor, coefficients: Tensor) -> Tensor:
    """(N, m, O, C/groups, kh, kw): every region's filter."""
    mixed = torch.matmul(coefficients, experts.flatten(1).to(coefficients.dtype)).to(experts.dtype)
    return mixed.view(-1, coefficients.shape[1], *experts.shape[1:])


def _unmixed(grad_filters: Tensor, experts: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of experts and coefficients from those of the mixed filters."""
    rows = grad_filters.flatten(2).to(coefficients.dtype)
    grad_experts = torch.matmul(coefficients.flatten(0, 1).t(), rows.flatten(0, 1)).to(experts.dtype)
    return grad_experts.view(experts.shape), torch.matmul(rows, experts.flatten(1).to(coefficients.dtype).t())


def _kernel(filters: Tensor) -> Pair:
    return filters.shape[-2], filters.shape[-1]


def _grouped_experts(experts: Tensor, groups: int) -> Tensor:
    """(K, O, C/g, kh, kw) -> (K, G, O/G, D)."""
    count, out = experts.shape[:2]
    return experts.reshape(count, groups, out // groups, prod(experts.shape[2:]))
