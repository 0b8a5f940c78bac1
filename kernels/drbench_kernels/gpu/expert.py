"""Filters mixed from shared experts: mixed first and then design A, or design B, which never builds them.

`configs.path` chooses. Launches, forward: two by region, one by expert. Backward of design B: those of design A, whose
filters' gradient is here the experts', and additions of parts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from drbench_kernels.columns import empty_like_layout
from drbench_kernels.geometry import Geometry
from drbench_kernels.gpu import configs
from drbench_kernels.gpu.configs import Config, ceil_div
from drbench_kernels.gpu.forward import expert_forward_kernel, mix_kernel
from drbench_kernels.gpu.launch import Call, dense, guide_numbers, launch, pack, power_of_two, shape_constants
from drbench_kernels.gpu.region import (
    filters_backward,
    forward_programs,
    positions_backward,
    region_backward,
    region_forward,
)


def expert_forward(
    input: Tensor,
    experts: Tensor,
    coefficients: Tensor,
    guide: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    path: str | None = None,
) -> Tensor:
    """(N, O, H', W'); arguments as drbench_kernels.expert_region_conv2d, but coefficients may be float32.

    `path`, 'triton-region' or 'triton-expert', is the choice of `configs.path` unless given.
    """
    if (path or _path(input, experts, coefficients, guide)) == configs.REGION:
        return region_forward(input, mix(experts, coefficients), guide, bias, geometry)
    return by_expert_forward(input, experts, coefficients, guide, bias, geometry)


def expert_backward(
    grad: Tensor,
    input: Tensor,
    experts: Tensor,
    coefficients: Tensor,
    guide: Tensor,
    geometry: Geometry,
    guide_learns: bool,
    path: str | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of input, experts, coefficients (in their dtype) and, where `guide_learns`, guide."""
    if (path or _path(input, experts, coefficients, guide)) == configs.EXPERT:
        return by_expert_backward(grad, input, experts, coefficients, guide, geometry, guide_learns)
    filters = mix(experts, coefficients)
    grad_input, grad_filters, grad_guide = region_backward(grad, input, filters, guide, geometry, guide_learns)
    return grad_input, *unmix(grad_filters, experts, coefficients), grad_guide


def _path(input: Tensor, experts: Tensor, coefficients: Tensor, guide: Tensor) -> str:
    return configs.path(input, experts, coefficients, guide.shape[-2] * guide.shape[-1])


def mix(experts: Tensor, coefficients: Tensor) -> Tensor:
    """Filters (N, m, O, C/g, kh, kw) in the experts' dtype, packed, added up in float32; one launch."""
    n, regions, count = coefficients.shape
    _, out, depth, kh, kw = experts.shape
    filters = experts.new_empty(n, regions, out, kh, kw, depth).movedim(-1, -3)
    size = experts[0].numel()
    rows, config = n * regions, configs.mixing(size)

    def programs(config: Config) -> int:
        return ceil_div(rows, config.positions) * ceil_div(size, config.channels)

    arguments = (filters, pack(experts), coefficients.contiguous(), rows)
    launch(Call(mix_kernel, arguments, {"K": count, "SIZE": size}, config, programs, experts))
    return filters


def unmix(grad_filters: Tensor, experts: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of experts and coefficients from that of the mixed filters: two matrix products.

    In the experts' dtype: a gradient that is then rounded to it loses nothing by it.
    """
    n, regions, count = coefficients.shape
    flat = grad_filters.view(n * regions, -1)
    weights = coefficients.reshape(-1, count).to(flat.dtype)
    grad_experts = torch.mm(weights.t(), flat).view(experts.shape)
    grad_coefficients = torch.mm(flat, experts.reshape(count, -1).t()).view(coefficients.shape)
    return grad_experts, grad_coefficients.to(coefficients.dtype)


def by_expert_forward(
    input: Tensor, experts: Tensor, coefficients: Tensor, guide: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    """Design B forward: one launch."""
    input, last = dense(input)
    size = geometry.output_size(input.shape[2], input.shape[3], (experts.shape[3], experts.shape[4]))
    output = empty_like_layout(input, (input.shape[0], experts.shape[1], *size))
    if not output.numel():
        return output
    constants = _constants(input, experts, coefficients, guide, geometry, size) | {"LAST": last}
    tensors = (output, input, pack(experts), coefficients.contiguous(), guide, bias)
    arguments = (*tensors, *guide_numbers(guide), *input.shape[2:], *size)
    config = configs.forward(input.dtype, size[0] * size[1], constants["OG"], constants["CG"])
    launch(Call(expert_forward_kernel, arguments, constants, config, forward_programs(output, geometry), input))
    return output


def by_expert_backward(
    grad: Tensor,
    input: Tensor,
    experts: Tensor,
    coefficients: Tensor,
    guide: Tensor,
    geometry: Geometry,
    guide_learns: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Design B backward; as `expert_backward`."""
    grad_guide = torch.empty(guide.shape if guide_learns else 0, dtype=guide.dtype, device=guide.device)
    if not grad.numel():
        zeros = [torch.zeros(t.shape, dtype=t.dtype, device=t.device) for t in (experts, coefficients)]
        return torch.zeros_like(input), zeros[0], zeros[1], grad_guide.zero_()
    size = (grad.shape[2], grad.shape[3])
    input, last = dense(input)
    grad, grad_last = dense(grad.to(input.dtype), last)
    experts, weights = pack(experts), coefficients.contiguous()
    constants = _constants(input, experts, coefficients, guide, geometry, size)
    constants |= {"LAST": last, "GRAD_LAST": grad_last, "EXPERTS": True, "LEARNS": guide_learns}
    grad_input, regions, partial = positions_backward(
        grad, input, experts, weights, guide, geometry, constants, grad_guide if guide_learns else None
    )
    assert partial is not None
    grad_coefficients = partial.squeeze(1) if partial.shape[1] == 1 else partial.sum(1)
    grad_experts = filters_backward(grad, input, experts, regions, weights, constants)
    return grad_input, grad_experts, grad_coefficients.to(coefficients.dtype), grad_guide


def _constants(
    input: Tensor, experts: Tensor, coefficients: Tensor, guide: Tensor, geometry: Geometry, size: tuple[int, int]
) -> dict[str, Any]:
    regions, count = coefficients.shape[1:]
    return {
        **shape_constants(input, tuple(experts.shape[1:]), size[0] * size[1], geometry),
        "M": regions,
        "M_PAD": power_of_two(regions),
        "INTEGER": not guide.is_floating_point(),
        "SHARED": True,
        "K": count,
        "COUNT": count,
        "COUNT_PAD": power_of_two(count),
    }
