"""Which path runs, as a readable function of shape, dtype and device; and what each path costs.

Convention (what papers count): one filter per position. Executed: what the path that ran really multiplies and adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from math import prod

import torch

from drbench_kernels import native

NATIVE = "native"
"""C++ on the CPU: tiles of one region's positions; experts are mixed panel by panel, in the cache; depthwise apart."""
TRITON_REGION, TRITON_EXPERT = "triton-region", "triton-expert"
"""Triton on a GPU: with every region's filter at hand; or through every expert, no filter ever built."""
BY_REGION, BY_EXPERT = "by-region", "by-expert"
"""PyTorch alone: positions sorted and one GEMM a region; or one GEMM over inputs weighted for every expert."""

NATIVE_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
TRITON_DTYPES = NATIVE_DTYPES

# Fitted to forward times of 9 layer shapes (24 to 232 channels, 16 to 3136 positions, N = 1, 32, 128) on 2 CPU cores:
# a GEMM call costs as much as _CALL multiply-adds, and a mixed filter's element, being written to memory and read back,
# as much as _MIXED of them per expert.
_CALL = 320_000
_MIXED = 8


def region_path(device: str, dtype: torch.dtype) -> str:
    """The path of `region_conv2d` for tensors of this kind (`device` is a torch.device's type)."""
    if device == "cpu" and dtype in NATIVE_DTYPES and native.ready():
        return NATIVE
    if device == "cuda" and dtype in TRITON_DTYPES and _has_triton():
        return TRITON_REGION
    return BY_REGION


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def expert_path(device: str, dtype: torch.dtype, positions: int, filter_size: int, regions: int, experts: int) -> str:
    """The path of `expert_region_conv2d`.

    `filter_size` is O * (C/groups) * kh * kw; `positions` H' * W'.
    """
    path = region_path(device, dtype)
    if path == NATIVE:
        return NATIVE
    if path == TRITON_REGION:
        from drbench_kernels.gpu.configs import experts_unmixed

        return TRITON_EXPERT if experts_unmixed(positions, regions, experts, dtype) else TRITON_REGION
    return torch_path(positions, filter_size, regions, experts)


def is_depthwise(filters_shape: Sequence[int]) -> bool:
    """Whether a filter (..., O, C/groups, kh, kw) sees one channel: no path gains by leaving its experts unmixed."""
    return filters_shape[-3] == 1


def torch_path(positions: int, filter_size: int, regions: int, experts: int) -> str:
    """The cheaper in PyTorch: mixing every region's filter, or passing every position through every expert."""
    extra = (experts - 1) * positions * filter_size
    saved = regions * _CALL + _MIXED * regions * experts * filter_size
    return BY_EXPERT if extra < saved else BY_REGION


def region_conv2d_madds(output_shape: Sequence[int], filters_shape: Sequence[int]) -> int:
    """Multiply-adds, by the convention and executed alike: from (N, O, H', W') and (..., O, C/groups, kh, kw)."""
    n, _, height, width = output_shape
    return n * height * width * prod(filters_shape[-4:])


def mixing_madds(samples: int, regions: int, experts_shape: Sequence[int]) -> int:
    """Multiply-adds of einsum('nmk,k...->nm...'): every region's filter from (K, O, C/g, kh, kw)."""
    return samples * regions * prod(experts_shape)


def expert_region_conv2d_madds(output_shape: Sequence[int], experts_shape: Sequence[int], regions: int) -> int:
    """Multiply-adds by the convention: mixing and one filter per position."""
    return mixing_madds(output_shape[0], regions, experts_shape) + region_conv2d_madds(output_shape, experts_shape)


def expert_region_conv2d_executed(
    output_shape: Sequence[int],
    experts_shape: Sequence[int],
    regions: int,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> int:
    """Multiply-adds of the path that `expert_path` chooses."""
    n, _, height, width = output_shape
    experts, filter_size = experts_shape[0], prod(experts_shape[1:])
    path = expert_path(device, dtype, height * width, filter_size, regions, experts)
    if path == TRITON_EXPERT or (path == BY_EXPERT and not is_depthwise(experts_shape)):
        return n * height * width * experts * filter_size
    return expert_region_conv2d_madds(output_shape, experts_shape, regions)
