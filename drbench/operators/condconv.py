"""Conditionally Parameterized Convolution: one mixture of experts for the whole sample.

Yang, Bender, Le, Ngiam, "CondConv", NeurIPS 2019, https://arxiv.org/abs/1904.04971
The convolution is timm's CondConv2d; the routing (pool, Linear, sigmoid) is the paper's. It equals
`DRConv2d(regions=1, generator="experts")` up to the 2/K in the latter's routing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from drbench.errors import InputError
from drbench.operators.geometry import Geometry, Pair, check_channels, whole


class CondConv2d(nn.Module):
    """Drop-in for nn.Conv2d with K experts mixed per sample.

    Arguments as in nn.Conv2d, and `experts`: K, 1 or more. ValueError for a wrong argument, by its name.
    """

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
        experts: int = 8,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        from timm.layers import CondConv2d as TimmCondConv2d  # type: ignore[attr-defined]  # the other operators need none

        super().__init__()
        check_channels(in_channels, out_channels, groups)
        self.geometry = Geometry.of(kernel_size, stride, padding, dilation, padding_mode)
        self.in_channels = in_channels
        self.experts = whole("experts", experts)
        self.routing = nn.Linear(in_channels, experts, device=device, dtype=dtype)
        self.conv = TimmCondConv2d(
            in_channels,
            out_channels,
            self.geometry.kernel_size,
            self.geometry.stride,
            self.geometry.conv_padding,
            self.geometry.dilation,
            groups,
            bias=bias,
            num_experts=experts,
            device=device,
            dtype=dtype,
        )

    def reset_parameters(self) -> None:
        """Draw all parameters afresh."""
        self.routing.reset_parameters()
        self.conv.reset_parameters()  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def preserve_(self, conv: nn.Conv2d) -> None:
        """Take over the function of `conv`: routing 1/2 for all, experts 2W/K + e with the e adding up to 0."""
        if tuple(conv.weight.shape) != self.conv.weight_shape or (conv.bias is None) != (self.conv.bias is None):
            raise InputError(
                f"conv: got filters {tuple(conv.weight.shape)} {'without' if conv.bias is None else 'with'} bias, "
                f"allowed are {self.conv.weight_shape} {'without' if self.conv.bias is None else 'with'} bias"
            )
        nn.init.zeros_(self.routing.weight)
        nn.init.zeros_(self.routing.bias)
        weight = conv.weight.flatten().to(self.conv.weight)
        noise = torch.randn_like(self.conv.weight) * weight.std(correction=0)
        self.conv.weight.copy_((weight + noise - noise.mean(0)) * (2 / self.experts))
        if conv.bias is not None:
            self.conv.bias.copy_((conv.bias * (2 / self.experts)).expand(self.experts, -1))

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (N,C,H,W) -> (N,O,H',W'), or without N."""
        if input.dim() == 3:
            return self.forward(input.unsqueeze(0)).squeeze(0)
        if input.dim() != 4 or input.shape[1] != self.in_channels:
            raise InputError(f"input: got shape {tuple(input.shape)}, allowed is (N, {self.in_channels}, H, W)")
        coefficients = torch.sigmoid(self.routing(input.mean((2, 3))))
        output: Tensor = self.conv(self.geometry.pad(input), coefficients)
        return output

    def cost(self, input_shape: tuple[int, ...]) -> dict[str, int]:
        """Multiply-adds per sample by the convention, for an input of (C,H,W); a leading N is ignored."""
        height, width = self.geometry.output_size(*input_shape[-2:])
        filters = math.prod(self.conv.weight_shape)
        return {
            "conv": height * width * filters,
            "routing": self.routing.weight.numel(),
            "mixing": self.experts * filters,
        }
