"""Controls: DRConv with the guide taken away, to see what else could explain a gain.

`fixed-grid` has regions that depend on the place alone; `random-guide` has a guide that sees the image but never
learns. Both keep the filter generators of Chen et al., "Dynamic Region-Aware Convolution", CVPR 2021,
https://arxiv.org/abs/2003.12243
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from drbench.errors import InputError
from drbench.operators.drconv import DRConv2d
from drbench.operators.geometry import Pair
from drbench.operators.guide import GuideConv2d


class FixedGridConv2d(DRConv2d):
    """DRConv2d whose regions are a grid of rows x columns = regions, as near to square as the number allows."""

    make_guide = None  # type: ignore[assignment]  # no guide, so none to share either

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        regions: int = 8,
        experts: int = 8,
        generator: str = "experts",
        initialisation: str = "conv",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            regions=regions,
            experts=experts,
            generator=generator,
            own_guide=False,
            initialisation=initialisation,
            device=device,
            dtype=dtype,
        )
        self.rows = next(rows for rows in range(math.isqrt(self.regions), 0, -1) if self.regions % rows == 0)
        self.columns = self.regions // self.rows

    def guide_for(self, input: Tensor, guide: Tensor | None = None) -> Tensor:
        """The grid (N,H',W') for an input (N,C,H,W)."""
        if guide is not None:
            raise InputError("guide: regions of a fixed grid take none")
        return self.grid(input, *self.geometry.output_size(*input.shape[-2:]))

    def chosen(self, input: Tensor, guide: Tensor | None) -> Tensor:
        """`guide_for`, for TorchScript."""
        shape = self.output_shape(input)
        return self.grid(input, shape[1], shape[2])

    def grid(self, input: Tensor, height: int, width: int) -> Tensor:
        """The regions (N,height,width)."""
        rows = torch.arange(height, device=input.device) * self.rows // height
        columns = torch.arange(width, device=input.device) * self.columns // width
        return (rows[:, None] * self.columns + columns).expand(input.shape[0], -1, -1)


class RandomGuideConv2d(DRConv2d):
    """DRConv2d whose guide stays as it was drawn.

    Its regions are handed on as integers: were they logits, layers before it would learn to steer them.
    """

    @classmethod
    def make_guide(cls, in_channels: int, regions: int, *args: Any, **factory: Any) -> GuideConv2d | None:
        """A guide without gradients."""
        guide = super().make_guide(in_channels, regions, *args, **factory)
        return None if guide is None else guide.requires_grad_(False)

    def guide_for(self, input: Tensor, guide: Tensor | None = None) -> Tensor:
        """The regions (N,H',W') of an input (N,C,H,W)."""
        chosen = super().guide_for(input, guide)
        return chosen.argmax(1) if chosen.is_floating_point() else chosen

    def chosen(self, input: Tensor, guide: Tensor | None) -> Tensor:
        """`guide_for`, for TorchScript."""
        given = self.given(input, guide)
        return given.argmax(1) if given.is_floating_point() else given
