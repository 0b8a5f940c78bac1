"""Tile sizes by shape, and which of the two designs runs: plain functions of the shape and the dtype.

The sizes come from ahead-of-time builds (no spills, shared memory that fits sm_80, sm_90 and gfx942) and from
arithmetic, not from timing; DRBENCH_AUTOTUNE=1 measures candidates (`tuning.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch

REGION, EXPERT = "triton-region", "triton-expert"

# Multiply-adds that a current GPU does while it moves one byte (H100: 400 of 989 TFLOP/s in bf16 and 40 in float32
# without tensor cores, at 2.8 TB/s), and regions in one tile of positions where regions are smooth.
_MADDS_A_BYTE = {2: 70, 4: 7}
_REGIONS_A_TILE = 2

# Enough programs for every GPU at hand; a constant, so that the order of additions depends on the shape alone.
_PROGRAMS = 512


@dataclass(frozen=True)
class Config:
    """Tile (positions, outputs, channels) of one program, its warps, and how many loads are under way at once."""

    positions: int
    outputs: int
    channels: int
    warps: int = 4
    stages: int = 2


def experts_unmixed(positions: int, regions: int, experts: int, dtype: torch.dtype) -> bool:
    """Whether multiplying with every expert takes less time than mixing every region's filter. `positions` is H' * W'.

    Per element of a filter. By region: regions * experts multiply-adds to mix, the filters written and read again, and
    one product for each region in a position's tile. By expert: one product for each expert.
    """
    moved = 2 * dtype.itemsize * _MADDS_A_BYTE[dtype.itemsize]
    by_region = regions * (experts + moved) + min(_REGIONS_A_TILE, regions) * positions
    return experts * positions < by_region


def path(input: torch.Tensor, experts: torch.Tensor, coefficients: torch.Tensor, positions: int) -> str:
    """'triton-region' or 'triton-expert': how an `expert_region_conv2d` of these tensors runs."""
    unmixed = experts_unmixed(positions, coefficients.shape[1], experts.shape[0], input.dtype)
    return EXPERT if unmixed else REGION


def ceil_div(size: int, part: int) -> int:
    """How many parts cover `size`."""
    return -(-size // part)


def block(size: int, most: int) -> int:
    """The power of two that covers `size`, at least 16 (what a matrix unit needs) and at most `most`."""
    covering: int = max(16, 1 << max(0, size - 1).bit_length())
    return min(covering, most)


def forward(dtype: torch.dtype, positions: int, outputs: int, channels: int) -> Config:
    """For the forward kernels of both designs; `outputs` and `channels` are those of a group.

    Float32 is bound by its multiply-adds: loads are not overlapped, which would cost registers.
    """
    if dtype == torch.float32:
        return _with_warps(block(positions, 64), block(outputs, 64), block(channels, 16), stages=1)
    return _with_warps(block(positions, 64), block(outputs, 128), block(channels, 64), stages=3)


def backward(dtype: torch.dtype, positions: int, outputs: int, channels: int) -> Config:
    """For the kernels that make W^T g."""
    if dtype == torch.float32:
        return _with_warps(block(positions, 64), block(outputs, 16), block(channels, 64), stages=1)
    return _with_warps(block(positions, 64), block(outputs, 64), block(channels, 64), stages=3)


def scores(dtype: torch.dtype, positions: int, outputs: int, channels: int) -> Config:
    """For the kernel that makes the scores of filters larger than 1x1."""
    if dtype == torch.float32:
        return Config(block(positions, 64), block(outputs, 32), block(channels, 32), warps=8, stages=1)
    return backward(dtype, positions, outputs, channels)


def _with_warps(positions: int, outputs: int, channels: int, stages: int) -> Config:
    """Eight warps where four would hold more of a tile than fits their registers."""
    return Config(positions, outputs, channels, 8 if positions * max(outputs, channels) > 2048 else 4, stages)


def filter_gradient(dtype: torch.dtype, positions: int, outputs: int, channels: int) -> Config:
    """For dW, where the sum is over positions."""
    if dtype == torch.float32:
        return Config(block(positions, 32), block(outputs, 64), block(channels, 64))
    return Config(block(positions, 64), block(outputs, 64), block(channels, 64))


def mixing(size: int) -> Config:
    """For mixing filters of `size` elements."""
    return Config(16, 16, block(size, 256))


def splits(rows: int, config: Config, filters: int, shape: tuple[int, ...], groups: int) -> int:
    """Into how many parts dW's sum over `rows` positions is cut, for `filters` filters of (O, C/groups, kh, kw)."""
    outputs, channels, *kernel = shape
    blocks = groups * ceil_div(outputs // groups, config.outputs) * ceil_div(channels, config.channels)
    programs = filters * blocks * prod(kernel)
    tiles = ceil_div(rows, config.positions)
    return max(1, min(_PROGRAMS // max(1, programs), tiles // 4))
