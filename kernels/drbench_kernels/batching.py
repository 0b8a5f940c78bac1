"""torch.vmap over the ops: the batch joins the samples, and one call computes all of them.

What the samples of one call share may differ from one member of the batch to the next, or need a gradient for each:
then every sample gets filters of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from drbench_kernels.composite import mix, unmix

Dims = tuple[int | None, ...]


def register(library: torch.library.Library, by_steps: Callable[..., Tensor]) -> None:
    """Give every op its batching rule; `by_steps` is `expert_layer` made of the other ops."""
    for name, rule in _RULES.items():
        torch.library.register_vmap(f"drbench::{name}", rule, lib=library)
    library.impl("expert_layer", by_steps, "FuncTorchBatched")  # type: ignore[no-untyped-call]


def _batched(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """(B, ...), whether or not it was batched."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _joined(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """(B*N, ...)."""
    return _batched(tensor, dim, size).flatten(0, 1)


def _per_sample(filters: Tensor, dim: int | None, size: int, samples: int) -> Tensor:
    """Filters (B*N, m, O, C/groups, kh, kw), one set for every sample."""
    own = _batched(filters, dim, size)
    if own.dim() == 6:
        own = own.unsqueeze(1).expand(-1, samples, -1, -1, -1, -1, -1)
    return own.flatten(0, 1)


def _parted(joined: Tensor, size: int) -> Tensor:
    """(B*N, ...) -> (B, N, ...)."""
    return torch.unflatten(joined, 0, (size, joined.shape[0] // size))


def _with_bias(y: Tensor, bias: Tensor | None, dim: int | None, size: int) -> Tensor:
    """(B, N, O, H', W') with each member's bias (O,) added."""
    return y if bias is None else y + _batched(bias, dim, size)[:, None, :, None, None]


def _region(
    info: Any, dims: Dims, input: Tensor, filters: Tensor, guide: Tensor, bias: Tensor | None, *rest: Any
) -> tuple[Tensor, int]:
    size = info.batch_size
    x, choice = _joined(input, dims[0], size), _joined(guide, dims[2], size)
    one = dims[1] is None and filters.dim() == 5  # all samples of all members share the filters
    own = filters if one else _per_sample(filters, dims[1], size, x.shape[0] // size)
    y = torch.ops.drbench.region_conv2d(x, own, choice, None, *rest)
    return _with_bias(_parted(y, size), bias, dims[3], size), 0


def _region_backward(
    info: Any, dims: Dims, grad: Tensor, input: Tensor, filters: Tensor, guide: Tensor, *rest: Any
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    size = info.batch_size
    x, choice = _joined(input, dims[1], size), _joined(guide, dims[3], size)
    samples = x.shape[0] // size
    own = _per_sample(filters, dims[2], size, samples)
    shared = filters.dim() == (5 if dims[2] is None else 6)
    dx, dw, df = torch.ops.drbench.region_conv2d_backward(_joined(grad, dims[0], size), x, own, choice, *rest)
    dw = _parted(dw, size)
    return (_parted(dx, size), dw.sum(1) if shared else dw, _parted_guide(df, size)), (0, 0, 0)


def _parted_guide(gradient: Tensor, size: int) -> Tensor:
    """The guide's gradient; where it does not learn there is none, for nobody."""
    return _parted(gradient, size) if gradient.dim() > 1 else gradient.expand(size, 0)


def _expert(
    info: Any,
    dims: Dims,
    input: Tensor,
    experts: Tensor,
    coefficients: Tensor,
    guide: Tensor,
    bias: Tensor | None,
    *rest: Any,
) -> tuple[Tensor, int]:
    size = info.batch_size
    x, choice = _joined(input, dims[0], size), _joined(guide, dims[3], size)
    if dims[1] is None:
        shares = _joined(coefficients, dims[2], size)
        y = torch.ops.drbench.expert_region_conv2d(x, experts, shares, choice, None, *rest)
    else:
        filters = mix(_batched(experts, dims[1], size), _batched(coefficients, dims[2], size))
        y = torch.ops.drbench.region_conv2d(x, filters.flatten(0, 1), choice, None, *rest)
    return _with_bias(_parted(y, size), bias, dims[4], size), 0


def _expert_backward(
    info: Any,
    dims: Dims,
    grad: Tensor,
    input: Tensor,
    experts: Tensor,
    coefficients: Tensor,
    guide: Tensor,
    *rest: Any,
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    size = info.batch_size
    banks, shares = _batched(experts, dims[2], size), _batched(coefficients, dims[3], size)
    filters = mix(banks, shares).flatten(0, 1)
    x, choice = _joined(input, dims[1], size), _joined(guide, dims[4], size)
    dx, dw, df = torch.ops.drbench.region_conv2d_backward(_joined(grad, dims[0], size), x, filters, choice, *rest)
    de, da = unmix(_parted(dw, size), banks, shares)
    return (_parted(dx, size), de, da, _parted_guide(df, size)), (0, 0, 0, 0)


_RULES: dict[str, Callable[..., Any]] = {
    "region_conv2d": _region,
    "region_conv2d_backward": _region_backward,
    "expert_region_conv2d": _expert,
    "expert_region_conv2d_backward": _expert_backward,
}
