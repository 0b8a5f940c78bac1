"""Design A, any generator: the filters are at hand, and each position is multiplied with its region's.

Forward is one launch. Backward is two for 1x1 filters (dx with the guide's gradient; the filters' gradient), three for
larger ones. Besides: larger filters are packed first, forward and backward; a strided 1x1 filter first clears dx; a sum
that is cut into parts is added up afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from drbench_kernels.columns import empty_like_layout, is_pointwise
from drbench_kernels.geometry import Geometry
from drbench_kernels.gpu import configs
from drbench_kernels.gpu.backward_filters import filter_gradient_kernel
from drbench_kernels.gpu.backward_guide import pointwise_backward_kernel, score_kernel
from drbench_kernels.gpu.configs import Config, ceil_div
from drbench_kernels.gpu.forward import region_forward_kernel
from drbench_kernels.gpu.gather import gather_kernel
from drbench_kernels.gpu.launch import Call, dense, guide_numbers, launch, pack, power_of_two, shape_constants


def region_forward(input: Tensor, filters: Tensor, guide: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """(N, O, H', W') in dtype and memory format of `input`; arguments as drbench_kernels.region_conv2d.

    Float32, float16 or bfloat16; a floating guide in any of them; integer regions are clamped to 0..m-1.
    """
    out, _, kh, kw = filters.shape[-4:]
    input, last = dense(input)
    size = geometry.output_size(input.shape[2], input.shape[3], (kh, kw))
    output = empty_like_layout(input, (input.shape[0], out, *size))
    if not output.numel():
        return output
    constants = region_constants(input, filters, guide, geometry, size) | {"LAST": last}
    arguments = (output, input, pack(filters), guide, bias, *guide_numbers(guide), *input.shape[2:], *size)
    config = configs.forward(input.dtype, size[0] * size[1], constants["OG"], constants["CG"])
    launch(Call(region_forward_kernel, arguments, constants, config, forward_programs(output, geometry), input))
    return output


def forward_programs(output: Tensor, geometry: Geometry) -> Callable[[Config], int]:
    """Of a forward kernel: one for each tile of positions, and of outputs, in each group of each sample."""
    n, out, height, width = output.shape
    groups = geometry.groups
    return lambda config: (
        n * ceil_div(height * width, config.positions) * groups * ceil_div(out // groups, config.outputs)
    )


def region_backward(
    grad: Tensor, input: Tensor, filters: Tensor, guide: Tensor, geometry: Geometry, guide_learns: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of input (its memory format), filters and, where `guide_learns`, guide (both contiguous).

    `grad` is dL/d output, of any strides.
    """
    grad_guide = torch.empty(guide.shape if guide_learns else 0, dtype=guide.dtype, device=guide.device)
    if not grad.numel():
        contiguous = torch.zeros(filters.shape, dtype=filters.dtype, device=filters.device)
        return torch.zeros_like(input), contiguous, grad_guide.zero_()
    size = (grad.shape[2], grad.shape[3])
    input, last = dense(input)
    grad, grad_last = dense(grad.to(input.dtype), last)
    filters = pack(filters)
    constants = region_constants(input, filters, guide, geometry, size)
    constants |= {"LAST": last, "GRAD_LAST": grad_last, "EXPERTS": False, "LEARNS": guide_learns}
    constants |= {"COUNT": constants["M"], "COUNT_PAD": constants["M_PAD"]}
    grad_input, regions, _ = positions_backward(
        grad, input, filters, None, guide, geometry, constants, grad_guide if guide_learns else None
    )
    grad_filters = filters_backward(grad, input, filters, regions, None, constants)
    return grad_input, grad_filters, grad_guide


def region_constants(
    input: Tensor, filters: Tensor, guide: Tensor, geometry: Geometry, size: tuple[int, int]
) -> dict[str, Any]:
    """Those of the shape and of the regions."""
    regions = filters.shape[-5]
    return {
        **shape_constants(input, tuple(filters.shape[-4:]), size[0] * size[1], geometry),
        "M": regions,
        "M_PAD": power_of_two(regions),
        "INTEGER": not guide.is_floating_point(),
        "SHARED": filters.dim() == 5,
    }


def positions_backward(
    grad: Tensor,
    input: Tensor,
    filters: Tensor,
    coefficients: Tensor | None,
    guide: Tensor,
    geometry: Geometry,
    constants: dict[str, Any],
    grad_guide: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """dx, regions (N, P) int32, and with coefficients the parts (N, tiles, m, K) float32 of their gradient.

    `filters`, packed, are the experts where there are coefficients. dF is written to `grad_guide`.
    """
    n, _, height, width = grad.shape
    positions = height * width
    pointwise = is_pointwise((constants["KH"], constants["KW"]), geometry)
    choose = configs.backward if pointwise else configs.scores
    config = choose(input.dtype, positions, constants["OG"], constants["CG"])
    tiles = ceil_div(positions, config.positions)
    regions = torch.empty(n, positions, dtype=torch.int32, device=input.device)
    partial = None
    if coefficients is not None:
        partial = torch.empty(n, tiles, *coefficients.shape[1:], dtype=torch.float32, device=input.device)
    shape = (*input.shape[2:], height, width)
    data = (grad, input, filters, coefficients, guide, *guide_numbers(guide), *shape)
    grad_input = empty_like_layout(input, tuple(input.shape))

    def programs(config: Config) -> int:
        return n * ceil_div(positions, config.positions)

    if pointwise:
        if geometry.stride != (1, 1):
            grad_input.zero_()  # pixels that no output position sees
        arguments = (grad_input, grad_guide, regions, partial, *data)
        launch(Call(pointwise_backward_kernel, arguments, constants, config, programs, input, fixed=True))
        return grad_input, regions, partial
    arguments = (grad_guide, regions, partial, *data)
    launch(Call(score_kernel, arguments, constants, config, programs, input, fixed=True))

    pixels, groups, channels = input.shape[2] * input.shape[3], geometry.groups, int(constants["CG"])

    def gather_programs(config: Config) -> int:
        blocks = groups * ceil_div(channels, config.channels)
        return n * ceil_div(pixels, config.positions) * blocks

    launch(
        Call(
            gather_kernel,
            (grad_input, grad, filters, regions, coefficients, *shape),
            constants,
            configs.backward(input.dtype, pixels, constants["OG"], channels),
            gather_programs,
            input,
        )
    )
    return grad_input, regions, partial


def filters_backward(
    grad: Tensor,
    input: Tensor,
    filters: Tensor,
    regions: Tensor,
    coefficients: Tensor | None,
    constants: dict[str, Any],
) -> Tensor:
    """dW (as `filters`, contiguous); with coefficients that of the experts."""
    n, _, height, width = grad.shape
    shared = constants["SHARED"]
    owners, rows = (1, n * height * width) if shared else (n, height * width)
    config = configs.filter_gradient(input.dtype, rows, constants["OG"], constants["CG"])
    count, shape, groups = owners * int(constants["COUNT"]), tuple(filters.shape[-4:]), int(constants["GROUPS"])
    splits = configs.splits(rows, config, count, shape, groups)
    split_tiles = ceil_div(ceil_div(rows, config.positions), splits)
    whole = torch.empty(filters.shape, dtype=filters.dtype, device=filters.device)
    parts = whole
    if splits > 1:
        parts = torch.empty(splits, *filters.shape, dtype=torch.float32, device=filters.device)
    sizes = (n, split_tiles, *input.shape[2:], height, width)

    def programs(config: Config) -> int:
        blocks = ceil_div(shape[0] // groups, config.outputs) * ceil_div(shape[1], config.channels)
        return splits * count * groups * shape[2] * shape[3] * blocks

    arguments = (parts, grad, input, regions, coefficients, *sizes)
    launch(Call(filter_gradient_kernel, arguments, constants, config, programs, input, fixed=True))
    return whole if splits == 1 else parts.sum(0).to(filters.dtype)
