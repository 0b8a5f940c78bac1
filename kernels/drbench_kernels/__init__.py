"""Region convolution: each output position is convolved with one of m filters, the one its region names.

Source: Chen, Wang, Guo, Zhang, Sun, "Dynamic Region-Aware Convolution", CVPR 2021, arXiv 2003.12243.

    y[n,o,p] = sum_{c,i,j} x[n,c,p*s+(i,j)*d-pad] * W[n, r(n,p), o, c, i, j]          r(n,p) = argmax_j F[n,j,p]

Needs torch alone; runs fast with the native CPU kernels (`native`, built once by a C++ compiler) or, on a GPU, triton.
Both functions are torch ops: they compile, export, autocast and count their own FLOPs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from drbench_kernels import native, ops  # noqa: F401  (ops registers the torch ops)
from drbench_kernels.autograd import call
from drbench_kernels.checked import call_key, known, remember, tracing
from drbench_kernels.geometry import Geometry, check, check_coefficients, check_regions, pair, same_padding
from drbench_kernels.layer import expert_layer
from drbench_kernels.paths import (
    expert_region_conv2d_executed,
    expert_region_conv2d_madds,
    region_conv2d_madds,
)
from drbench_kernels.portable import plain_ops

__all__ = [
    "expert_layer",
    "expert_region_conv2d",
    "expert_region_conv2d_executed",
    "expert_region_conv2d_madds",
    "plain_ops",
    "region_conv2d",
    "region_conv2d_madds",
]

Size = int | Sequence[int]

_region_conv2d = torch.ops.drbench.region_conv2d.default
_expert_region_conv2d = torch.ops.drbench.expert_region_conv2d.default


def region_conv2d(
    input: Tensor,
    filters: Tensor,
    guide: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve every position with the filter of its region.

    >>> image, filters = torch.randn(1, 3, 8, 8), torch.randn(4, 6, 3, 1, 1)  # 4 regions, 3 -> 6 channels, 1x1
    >>> guide = torch.zeros(1, 8, 8, dtype=torch.int64)
    >>> guide[:, 4:] = 2  # the lower half is region 2
    >>> output = region_conv2d(image, filters, guide)
    >>> torch.allclose(output[:, :, 4:], torch.nn.functional.conv2d(image, filters[2])[:, :, 4:], atol=1e-5)
    True

    Args:
        input: (N, C, H, W), floating.
        filters: (N, m, O, C/groups, kh, kw), or without N if all samples share them; dtype and device of `input`.
        guide: (N, m, H', W') floating logits: the region is their argmax (the lowest index if several are equal;
            NaN as torch.argmax). The backward pass replaces the one-hot mask by the softmax of the logits, so that the
            logits get a gradient. Or (N, H', W') integer: fixed regions in 0..m-1, without gradient; a value out of
            range is an error on a CPU and is clamped on a GPU.
        bias: (O,).
        stride, padding, dilation: an int or a pair, as in torch.nn.functional.conv2d; padding also 'same', 'valid'.
        groups: as in conv2d.

    Returns:
        (N, O, H', W') in the dtype and memory format of `input`.

    Raises:
        ValueError: an argument is wrong; the message names it, its value and what is allowed.
    """
    key = call_key((input, filters, guide, bias), stride, padding, dilation, groups)
    geometry = known.get(key) if key else None
    if geometry is None:
        kernel = filters.shape[-2:] if filters.dim() >= 2 else (1, 1)
        padded, geometry = _geometry(input, kernel, stride, padding, dilation, groups)
        if not tracing():
            form = "(N, m, O, C/groups, kh, kw) or (m, O, C/groups, kh, kw) with m at least 1"
            check(padded, filters, guide, bias, geometry, filters_name="filters", filters_form=form, per_sample=True)
            check_regions(guide, filters.shape[-5], "filters")
        input = remember(key, geometry, input, padded)
    return call(  # type: ignore[no-any-return]
        _region_conv2d, input, filters, guide, bias, geometry.stride, geometry.padding, geometry.dilation, groups
    )


def expert_region_conv2d(
    input: Tensor,
    experts: Tensor,
    coefficients: Tensor,
    guide: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """`region_conv2d` whose filters are mixed from K experts: einsum('nmk,k...->nm...', coefficients, experts).

    The filters are built only where that is the cheaper way (`drbench_kernels.paths.expert_path`).

    Args:
        input: (N, C, H, W), floating.
        experts: (K, O, C/groups, kh, kw).
        coefficients: (N, m, K), in the dtype of `input` or wider: between regions they differ by little.
        guide, bias, stride, padding, dilation, groups: as in `region_conv2d`.

    Returns:
        (N, O, H', W') in the dtype and memory format of `input`.

    Raises:
        ValueError: an argument is wrong; the message names it, its value and what is allowed.
    """
    key = call_key((input, experts, coefficients, guide, bias), stride, padding, dilation, groups)
    geometry = known.get(key) if key else None
    if geometry is None:
        kernel = experts.shape[-2:] if experts.dim() >= 2 else (1, 1)
        padded, geometry = _geometry(input, kernel, stride, padding, dilation, groups)
        if not tracing():
            form = "(K, O, C/groups, kh, kw) with K at least 1"
            check(padded, experts, guide, bias, geometry, filters_name="experts", filters_form=form, per_sample=False)
            check_coefficients(coefficients, input, experts.shape[0])
            check_regions(guide, coefficients.shape[1], "coefficients")
        input = remember(key, geometry, input, padded)
    return call(  # type: ignore[no-any-return]
        _expert_region_conv2d,
        input,
        experts,
        coefficients,
        guide,
        bias,
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        groups,
    )


def _geometry(
    input: Tensor, kernel: Sequence[int], stride: Size, padding: Size | str, dilation: Size, groups: int
) -> tuple[Tensor, Geometry]:
    """The geometry, and the input, padded beforehand where 'same' is lopsided."""
    strides, dilations = pair("stride", stride, 1), pair("dilation", dilation, 1)
    if not isinstance(padding, str):
        return input, Geometry(strides, pair("padding", padding, 0), dilations, groups)
    if padding == "valid":
        return input, Geometry(strides, (0, 0), dilations, groups)
    if padding != "same":
        raise ValueError(f"padding is {padding!r}: allowed is an int, a pair of ints, 'same' or 'valid'")
    if strides != (1, 1):
        raise ValueError(f"padding='same' with stride {strides}: allowed is stride 1")
    left, right, top, bottom = same_padding((kernel[0], kernel[1]), dilations)
    if left == right and top == bottom:
        return input, Geometry(strides, (top, left), dilations, groups)
    return F.pad(input, (left, right, top, bottom)), Geometry(strides, (0, 0), dilations, groups)


native.on_import()
