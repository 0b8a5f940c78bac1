"""A whole layer in one op, for inference: guide, pooling, routing and the convolution with mixed experts.

    coefficients = 2 sigmoid(W mean(x) + b) / K        regions = argmax(guide * x)

One op is one launch on a CPU, where the native kernels go over the input once for guide and pooling together and write
neither logits nor filters. Elsewhere, and where a gradient is wanted, it is made of the other ops: a program that was
exported or traced without gradients can be trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from drbench_kernels import autograd, batching, ops, paths
from drbench_kernels.columns import empty_like_layout
from drbench_kernels.geometry import Geometry, check_convolution, check_dense, describe, pair

ops.define(
    "expert_layer(Tensor input, Tensor experts, Tensor routing, Tensor routing_bias, Tensor guide, Tensor? bias, "
    "SymInt[] stride, SymInt[] padding, SymInt[] dilation, SymInt groups, SymInt[] guide_padding) -> Tensor"
)


def expert_layer(
    input: Tensor,
    experts: Tensor,
    routing: Tensor,
    routing_bias: Tensor,
    guide: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    guide_padding: Sequence[int],
) -> Tensor:
    """What DRConv2d computes; arguments in one dtype. Each path refuses shapes that do not fit.

    Args:
        input: (N, C, H, W).
        experts: (K, O, C/groups, kh, kw).
        routing, routing_bias: (m*K, C) and (m*K,).
        guide: (m, C, gh, gw), a convolution with the stride and dilation of the layer, and with `guide_padding`.
        bias: (O,).
        stride, padding, dilation, guide_padding: pairs.

    Returns:
        (N, O, H', W') in the dtype and memory format of `input`.
    """
    return autograd.call(  # type: ignore[no-any-return]
        _op, input, experts, routing, routing_bias, guide, bias, stride, padding, dilation, groups, guide_padding
    )


@ops.implements("expert_layer")
def _by_steps(
    input: Tensor,
    experts: Tensor,
    routing: Tensor,
    routing_bias: Tensor,
    guide: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    guide_padding: Sequence[int],
) -> Tensor:
    return steps(input, experts, routing, routing_bias, guide, bias, stride, padding, dilation, groups, guide_padding)


def _geometry(stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int) -> Geometry:
    return Geometry(pair("stride", stride, 1), pair("padding", padding, 0), pair("dilation", dilation, 1), groups)


def _check(
    input: Tensor,
    experts: Tensor,
    routing: Tensor,
    routing_bias: Tensor,
    guide: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    guide_padding: Sequence[int],
) -> None:
    """Raise the ValueError that names the argument, what came and what is allowed."""
    form = "(K, O, C/groups, kh, kw)"
    size = check_convolution(
        input, experts, bias, geometry, filters_name="experts", filters_form=form, per_sample=False
    )
    channels = input.shape[1]
    for name, tensor in (("guide", guide), ("routing", routing), ("routing_bias", routing_bias)):
        check_dense(name, tensor, input.device)
        if not tensor.is_floating_point():
            raise ValueError(f"{name} is {describe(tensor)}: allowed is a floating tensor")
    if guide.dim() != 4 or not guide.numel() or guide.shape[1] != channels:
        raise ValueError(f"guide is {describe(guide)}: allowed is (m, {channels}, kh, kw)")
    seen = Geometry(geometry.stride, pair("guide_padding", guide_padding, 0), geometry.dilation, 1)
    given = seen.output_size(input.shape[2], input.shape[3], (guide.shape[2], guide.shape[3]))
    if given != size:
        raise ValueError(f"guide gives {given[0]}x{given[1]}: allowed is the output's {size[0]}x{size[1]}")
    count = guide.shape[0] * experts.shape[0]
    if tuple(routing.shape) != (count, channels):
        raise ValueError(f"routing is {describe(routing)}: allowed is ({count}, {channels})")
    if tuple(routing_bias.shape) != (count,):
        raise ValueError(f"routing_bias is {describe(routing_bias)}: allowed is ({count},)")


def steps(
    input: Tensor,
    experts: Tensor,
    routing: Tensor,
    routing_bias: Tensor,
    guide: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    guide_padding: Sequence[int],
    narrow: torch.dtype | None = None,
) -> Tensor:
    """The layer made of the other ops; the convolution in `narrow` where autocast asks for it, the choice never."""
    _check(
        input, experts, routing, routing_bias, guide, bias, _geometry(stride, padding, dilation, groups), guide_padding
    )
    wide = torch.promote_types(input.dtype, torch.float32)
    pooled = input.mean((2, 3), dtype=wide)
    scale = 2.0 / experts.shape[0]
    coefficients = torch.sigmoid(F.linear(pooled, routing.to(wide), routing_bias.to(wide))) * scale
    coefficients = torch.unflatten(coefficients, 1, (guide.shape[0], experts.shape[0]))
    logits = F.conv2d(input.to(wide), guide.to(wide), None, stride, guide_padding, dilation)
    if narrow is not None:
        input, experts = ops.narrowed(input, narrow), ops.narrowed(experts, narrow)
        bias = None if bias is None else ops.narrowed(bias, narrow)
    return torch.ops.drbench.expert_region_conv2d(  # type: ignore[no-any-return]
        input, experts, coefficients, logits, bias, stride, padding, dilation, groups
    )


for _twin in ("", "_by_torch"):
    autograd.register(ops.LIBRARY, f"expert_layer{_twin}", _by_steps, None)
batching.register(ops.LIBRARY, _by_steps)


def _autocast(device: str) -> None:
    key = f"Autocast{device.upper()}"
    keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))

    def cast(*args: Any) -> Tensor:
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return steps(*args, narrow=torch.get_autocast_dtype(device))  # type: ignore[misc]

    ops.LIBRARY.impl("expert_layer", cast, key)  # type: ignore[no-untyped-call]


for _device in ("cpu", "cuda"):
    _autocast(_device)


@torch.library.register_fake("drbench::expert_layer", lib=ops.LIBRARY)
def _(  # type: ignore[no-untyped-def]
    input, experts, routing, routing_bias, guide, bias, stride, padding, dilation, groups, guide_padding
):
    geometry = _geometry(stride, padding, dilation, groups)
    size = geometry.output_size(input.shape[2], input.shape[3], (experts.shape[3], experts.shape[4]))
    return empty_like_layout(input, (input.shape[0], experts.shape[1], *size))


def expert_layer_madds(
    output_shape: Sequence[int], experts_shape: Sequence[int], routing_shape: Sequence[int], guide_shape: Sequence[int]
) -> tuple[int, int]:
    """Multiply-adds by the convention of the convolution with its mixing, and of guide and routing."""
    n, _, height, width = output_shape
    convolution = paths.expert_region_conv2d_madds(output_shape, experts_shape, guide_shape[0])
    return convolution, n * (height * width * prod(guide_shape) + prod(routing_shape))


@register_flop_formula(torch.ops.drbench.expert_layer)
def _flops(  # type: ignore[no-untyped-def]
    input, experts, routing, routing_bias, guide, *args, out_shape=None, **kwargs
) -> int:
    return 2 * sum(expert_layer_madds(out_shape, experts, routing, guide))


_op = torch.ops.drbench.expert_layer.default
