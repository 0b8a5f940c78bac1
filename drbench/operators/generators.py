"""The two filter generators of DRConv: what the paper's text says, and what the authors released.

Chen, Wang, Guo, Zhang, Sun, "Dynamic Region-Aware Convolution", CVPR 2021, https://arxiv.org/abs/2003.12243

A generator sees the layer's input (N,C,H,W) and convolves with m filters per sample, one per region:
`grouped` (the paper) makes every region's filter from a basis of the region's own; `experts` (the released code)
mixes one bank that all regions share. Either gives an output variance like nn.Conv2d's when drawn fresh.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from drbench_kernels import expert_region_conv2d, region_conv2d
from torch import Tensor, nn
from torch.nn import functional as F

from drbench.operators.guide import full_precision, widen
from drbench.operators.layer import check_elements, plain

INITIALISATIONS = ("conv", "released")


def spread(weight: Tensor) -> Tensor:
    """The standard deviation that tells experts apart which share `weight` (O,C/groups,kh,kw): the weight's own.

    Of a constant weight (a layer that starts at zero) it is nn.Conv2d's at first: equal experts would stay equal.
    """
    own = weight.std(correction=0)
    return torch.where(own > 0, own, 1 / math.sqrt(3 * weight[0].numel()))


class ExpertGenerator(nn.Module):
    """Pool -> Linear(C, m*K) -> 2*sigmoid/K: coefficients of K experts for each of m regions.

    `filter_shape` is (O, C/groups, kh, kw). `initialisation="released"` draws the bank as the authors' code does
    (output variance 6/K of nn.Conv2d's); "conv" keeps nn.Conv2d's variance for any K.
    """

    name = "experts"
    __jit_unused_properties__ = ("dtype",)
    filters_are_made_from = ("bank",)

    def __init__(
        self,
        in_channels: int,
        filter_shape: tuple[int, int, int, int],
        regions: int,
        experts: int,
        initialisation: str = "conv",
        **factory: Any,
    ) -> None:
        super().__init__()
        self.regions = regions
        self.experts = experts
        self.initialisation = initialisation
        self.filter_shape = filter_shape
        check_elements("experts", experts, *filter_shape)
        check_elements("regions", regions, experts, in_channels)
        # a filter's inputs in one dimension: five would break network.to(memory_format=torch.channels_last)
        self.bank = nn.Parameter(torch.empty(experts, filter_shape[0], math.prod(filter_shape[1:]), **factory))
        self.routing = nn.Linear(in_channels, regions * experts, **factory)
        self.reset_parameters()

    @property
    def dtype(self) -> torch.dtype:
        """That of the parameters."""
        return self.bank.dtype

    def reset_parameters(self) -> None:
        """Draw afresh: routing N(0, 0.01), so that all coefficients start near 1/K."""
        # K experts at 1/K each add up to 1/K of one expert's variance, nn.Conv2d's is 1/(3 fan_in): bound^2 = K/fan_in
        squared = 6.0 if self.initialisation == "released" else float(self.experts)
        bound = math.sqrt(squared / self.bank.shape[2])
        nn.init.uniform_(self.bank, -bound, bound)
        nn.init.normal_(self.routing.weight, 0.0, 0.01)
        nn.init.zeros_(self.routing.bias)

    @torch.no_grad()
    def preserve_(self, weight: Tensor) -> None:
        """Make every region's filter `weight` (O,C/groups,kh,kw), the experts still different from one another."""
        nn.init.zeros_(self.routing.weight)
        nn.init.zeros_(self.routing.bias)
        noise = torch.randn_like(self.bank) * spread(weight).to(self.bank)
        self.bank.copy_(weight.to(self.bank).flatten(1) + noise - noise.mean(0))

    def forward(self, input: Tensor) -> Tensor:
        """Coefficients (N,m,K) for an input (N,C,H,W), in float32 or wider.

        They start near 1/K: in bfloat16 the differences between regions, and with them the guide's gradient, drown.
        """
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            return self._coefficients(self.routing(self._pooled(input).to(self.bank.dtype)))
        with full_precision(input.device.type):
            return self._coefficients(self._route(self._pooled(input)))

    def _pooled(self, input: Tensor) -> Tensor:
        return input.mean((2, 3), dtype=torch.float64 if self.bank.dtype == torch.float64 else torch.float32)

    def _route(self, pooled: Tensor) -> Tensor:
        """What the routing says: by itself, unless it is a narrow layer that nobody watches or replaced."""
        routing = self.routing
        if self.dtype == pooled.dtype or not plain(routing, nn.Linear):
            logits: Tensor = routing(pooled.to(self.dtype))
            return logits
        bias = None if routing.bias is None else routing.bias.to(pooled.dtype)
        return F.linear(pooled, routing.weight.to(pooled.dtype), bias)

    def _coefficients(self, logits: Tensor) -> Tensor:
        made = torch.sigmoid(widen(logits, self.bank)) * (2.0 / self.experts)
        return made.view(logits.shape[0], self.regions, self.experts)

    def convolve(
        self,
        input: Tensor,
        made: Tensor,
        guide: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
    ) -> Tensor:
        """The region convolution with what `forward` made."""
        experts = self.bank.to(input.dtype).view((self.experts,) + self.filter_shape)  # noqa: RUF005  # TorchScript
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            return torch.ops.drbench.expert_region_conv2d(  # type: ignore[no-any-return]
                input, experts, made, guide, bias, stride, padding, dilation, groups
            )
        return expert_region_conv2d(input, experts, made, guide, bias, stride, padding, dilation, groups)

    def cost(self) -> dict[str, int]:
        """Multiply-adds per sample."""
        return {"routing": self.routing.weight.numel(), "mixing": self.regions * self.bank.numel()}


class GroupedGenerator(nn.Module):
    """Pool to k x k -> 1x1 conv to m*h -> sigmoid -> grouped 1x1 conv: m filters, each region with its own basis.

    h = m as in the paper; `filter_shape` is (O, C/groups, kh, kw).
    """

    name = "grouped"
    __jit_unused_properties__ = ("dtype",)
    filters_are_made_from = ("basis.weight", "offset")

    def __init__(
        self,
        in_channels: int,
        filter_shape: tuple[int, int, int, int],
        regions: int,
        **factory: Any,
    ) -> None:
        super().__init__()
        self.regions = regions
        self.filter_shape = filter_shape
        check_elements("regions", regions, regions, filter_shape[0], filter_shape[1])
        check_elements("regions", regions, *filter_shape)
        check_elements("regions", regions, regions, in_channels)
        self.routing = nn.Conv2d(in_channels, regions * regions, 1, **factory)
        per_region = filter_shape[0] * filter_shape[1]
        self.basis = nn.Conv2d(regions * regions, regions * per_region, 1, groups=regions, bias=False, **factory)
        # the basis convolution's bias, one value for each place of the kernel, so that any filter can be preserved
        self.offset = nn.Parameter(torch.empty(regions, filter_shape[0], math.prod(filter_shape[1:]), **factory))
        self.reset_parameters()

    @property
    def dtype(self) -> torch.dtype:
        """That of the parameters."""
        return self.offset.dtype

    def reset_parameters(self) -> None:
        """Draw afresh."""
        self.routing.reset_parameters()
        # h basis filters at sigmoid(0) = 1/2 each: their variance is 4/h of what the filter needs, 1/(3 fan_in)
        bound = 2.0 / math.sqrt(self.regions * math.prod(self.filter_shape[1:]))
        nn.init.uniform_(self.basis.weight, -bound, bound)
        nn.init.zeros_(self.offset)

    @torch.no_grad()
    def preserve_(self, weight: Tensor) -> None:
        """Make every region's filter `weight` (O,C/groups,kh,kw): nothing from the basis, all from its bias."""
        nn.init.zeros_(self.basis.weight)
        self.offset.copy_(weight.flatten(1))

    def forward(self, input: Tensor) -> Tensor:
        """Filters (N,m,O,C/groups,kh,kw) for an input (N,C,H,W)."""
        pooled = F.adaptive_avg_pool2d(input, self.filter_shape[2:])
        made: Tensor = self.basis(torch.sigmoid(self.routing(pooled)))
        shape = (self.regions,) + self.filter_shape  # noqa: RUF005  # TorchScript
        return made.reshape((input.shape[0],) + shape) + self.offset.view(shape)  # noqa: RUF005

    def convolve(
        self,
        input: Tensor,
        made: Tensor,
        guide: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
    ) -> Tensor:
        """The region convolution with what `forward` made."""
        filters = made.to(input.dtype)
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            return torch.ops.drbench.region_conv2d(  # type: ignore[no-any-return]
                input, filters, guide, bias, stride, padding, dilation, groups
            )
        return region_conv2d(input, filters, guide, bias, stride, padding, dilation, groups)

    def cost(self) -> dict[str, int]:
        """Multiply-adds per sample."""
        places = math.prod(self.filter_shape[2:])
        return {"routing": self.routing.weight.numel() * places, "mixing": self.basis.weight.numel() * places}


GENERATORS: dict[str, Callable[..., ExpertGenerator | GroupedGenerator]] = {
    "experts": ExpertGenerator,
    "grouped": GroupedGenerator,
}
