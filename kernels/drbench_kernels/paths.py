"""Which path runs, as a readable function of the shape; and what each path costs.

Convention (what papers count): one filter per position. Executed: what the path that ran really multiplies and adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

BY_REGION, BY_EXPERT = "by-region", "by-expert"

# Fitted to forward times of 9 layer shapes (24 to 232 channels, 16 to 3136 positions, N = 1, 32, 128) on 2 CPU cores:
# a GEMM call costs as much as _CALL multiply-adds, and a mixed filter's element, being written to memory and read back,
# as much as _MIXED of them per expert.
_CALL = 320_000
_MIXED = 8


def expert_path(positions: int, filter_size: int, regions: int, experts: int) -> str:
    """The cheaper of mixing every region's filter, or passing every position through every expert.

    `filter_size` is O * (C/groups) * kh * kw; `positions` H' * W'.
    """
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


def expert_region_conv2d_executed(output_shape: Sequence[int], experts_shape: Sequence[int], regions: int) -> int:
    """Multiply-adds of the path that `expert_path` chooses for this shape."""
    n, _, height, width = output_shape
    experts, filter_size = experts_shape[0], prod(experts_shape[1:])
    if expert_path(height * width, filter_size, regions, experts) == BY_EXPERT:
        return n * height * width * experts * filter_size
    return expert_region_conv2d_madds(output_shape, experts_shape, regions)
