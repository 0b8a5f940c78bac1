"""Conditionally Parameterized Convolution: one mixture of experts for the whole sample.

Yang, Bender, Le, Ngiam, "CondConv", NeurIPS 2019, https://arxiv.org/abs/1904.04971
The convolution is timm's CondConv2d; the routing (pool, Linear, sigmoid) is the paper's. It equals
`DRConv2d(regions=1, generator="experts")` up to the 2/K in the latter's routing.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from drbench_kernels import expert_region_conv2d
from torch import Tensor, nn

from drbench.operators.generators import spread
from drbench.operators.geometry import Pair, pad, tracing, whole
from drbench.operators.layer import ConvLayer, check_elements


class CondConv2d(ConvLayer):
    """Drop-in for nn.Conv2d with K experts mixed per sample.

    Arguments as in nn.Conv2d, and `experts`: K, 1 or more. ValueError for a wrong argument, by its name.
    `bias` is the experts' (K, O), or None.
    """

    filters_are_made_from = "conv.weight"

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
            device,
            dtype,
        )
        self.experts = whole("experts", experts)
        check_elements("experts", self.experts, *self.filter_shape)
        self.routing = nn.Linear(self.in_channels, self.experts, device=device, dtype=dtype)
        self.conv = TimmCondConv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            self.geometry.conv_padding,
            self.dilation,
            self.groups,
            bias=bias,
            num_experts=self.experts,
            device=device,
            dtype=dtype,
        )

    @property
    def bias(self) -> nn.Parameter | None:
        """The experts' biases (K, O)."""
        found: nn.Parameter | None = self.conv.bias
        return found

    def reset_parameters(self) -> None:
        """Draw all parameters afresh."""
        self.routing.reset_parameters()
        self.conv.reset_parameters()  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def preserve_(self, conv: nn.Conv2d) -> None:
        """Take over the function of `conv`: routing 1/2 for all, experts 2W/K + e with the e adding up to 0."""
        self.check_conv(conv)
        nn.init.zeros_(self.routing.weight)
        nn.init.zeros_(self.routing.bias)
        weight = conv.weight.flatten().to(self.conv.weight)
        noise = torch.randn_like(self.conv.weight) * spread(conv.weight).to(weight)
        self.conv.weight.copy_((weight + noise - noise.mean(0)) * (2 / self.experts))
        if conv.bias is not None:
            self.conv.bias.copy_((conv.bias * (2 / self.experts)).expand(self.experts, -1))

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (N,C,H,W) -> (N,O,H',W'), or without N."""
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            one = len(input.shape) == 3
            y = self._convolve(input.unsqueeze(0) if one else input)
            return y.squeeze(0) if one else y
        if not isinstance(input, Tensor):
            made: Tensor = self.other_input(input)
            return made
        return self._run(input)

    def _run(self, input: Tensor) -> Tensor:
        if input.dim() == 3:
            return self.forward(input.unsqueeze(0)).squeeze(0)
        self.check_input(input, self.conv.weight.dtype, mixed=False)
        if tracing():
            return self._traced(input)
        if not input.shape[0]:  # timm's has a group for every sample
            return self.forward(torch.cat((input, input.new_zeros(1, *input.shape[1:]))))[:0]
        return self._convolve(input)

    def _convolve(self, input: Tensor) -> Tensor:
        coefficients = torch.sigmoid(self.routing(input.mean((2, 3))))
        return self.conv(pad(input, self.own_pads, self.padding_mode), coefficients)  # type: ignore[no-any-return]

    def _traced(self, input: Tensor) -> Tensor:
        """A trace holds the number of groups, which in timm's is the batch's: one region has none."""
        coefficients = torch.sigmoid(self.routing(input.mean((2, 3))))
        experts = self.conv.weight.view(self.experts, *self.filter_shape)
        everywhere = torch.zeros(1, 1, 1, dtype=torch.long, device=input.device).expand(self.output_shape(input))
        padded = self.geometry.pad(input)
        windows = self.stride, self.own_padding, self.dilation, self.groups
        y = expert_region_conv2d(padded, experts, coefficients.unsqueeze(1), everywhere, None, *windows)
        return y if self.bias is None else y + (coefficients @ self.bias)[:, :, None, None]

    def own_arguments(self) -> dict[str, Any]:
        """The arguments that nn.Conv2d does not have."""
        return {"experts": self.experts}

    def cost(self, input_shape: tuple[int, ...]) -> dict[str, int]:
        """Multiply-adds per sample by the convention, for an input of (C,H,W); a leading N is ignored."""
        height, width = self.geometry.output_size(*input_shape[-2:])
        filters = math.prod(self.conv.weight_shape)
        return {
            "conv": height * width * filters,
            "routing": self.routing.weight.numel(),
            "mixing": self.experts * filters,
        }
