"""Dynamic Region-Aware Convolution: a convolution whose filters depend on the sample and on the region.

Chen, Wang, Guo, Zhang, Sun, "Dynamic Region-Aware Convolution", CVPR 2021, https://arxiv.org/abs/2003.12243

A guide assigns every output position to one of m regions; a generator makes m filters from the whole input; every
position is convolved with the filter of its region.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from drbench_kernels import expert_layer
from torch import Tensor, nn

from drbench.errors import InputError
from drbench.operators.generators import GENERATORS, INITIALISATIONS, ExpertGenerator
from drbench.operators.geometry import Geometry, Pair, check_channels, pair, whole
from drbench.operators.guide import GuideConv2d, fit


class DRConv2d(nn.Module):
    """Drop-in for nn.Conv2d whose filters depend on sample and region.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype:
            as in nn.Conv2d, padding 'same' and 'valid' included.
        regions: m, the number of regions, 1 or more. With 1 there is no guide.
        experts: K, the size of the bank that generator 'experts' mixes; unused by 'grouped'.
        generator: 'experts' (the authors' released code) or 'grouped' (the paper's text).
        guide_kernel_size: kernel of the layer's own guide; None is the layer's own kernel size.
        own_guide: False for a layer that always gets its guide handed in, and then holds none.
        initialisation: of the bank: 'conv' (the output variance of nn.Conv2d) or 'released'; unused by 'grouped'.

    Raises:
        ValueError: for a wrong argument, by its name.
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
        regions: int = 8,
        experts: int = 8,
        generator: str = "experts",
        guide_kernel_size: Pair | None = None,
        own_guide: bool = True,
        initialisation: str = "conv",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels, out_channels, groups)
        self.geometry = Geometry.of(kernel_size, stride, padding, dilation, padding_mode)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.groups = groups
        self.regions = whole("regions", regions)
        if generator not in GENERATORS:
            raise InputError(f"generator: got {generator!r}, allowed are {', '.join(GENERATORS)}")
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        if initialisation not in INITIALISATIONS:
            raise InputError(f"initialisation: got {initialisation!r}, allowed are {', '.join(INITIALISATIONS)}")
        bank = {"experts": whole("experts", experts), "initialisation": initialisation}
        options = bank if generator == "experts" else {}
        shape = (out_channels, in_channels // groups, *self.geometry.kernel_size)
        self.generator = GENERATORS[generator](in_channels, shape, regions, **options, **factory)
        if guide_kernel_size is None:
            guide_kernel_size = self.geometry.kernel_size
        guide_kernel = pair("guide_kernel_size", guide_kernel_size, 1)
        self.guide: GuideConv2d | None = None
        if own_guide and regions > 1:  # one region needs no choice
            self.guide = self.make_guide(in_channels, regions, self.geometry.with_kernel(guide_kernel), **factory)
        self.bias = nn.Parameter(torch.empty(out_channels, **factory)) if bias else None
        self._reset_bias()

    @classmethod
    def make_guide(cls, in_channels: int, regions: int, *args: Any, **factory: Any) -> GuideConv2d | None:
        """The guide of a layer of this kind, also for a block that shares one; None where one region needs none.

        An operator with this method and `forward(input, guide=None)` can be used with guide='block'.
        """
        return GuideConv2d(in_channels, regions, *args, **factory) if regions > 1 else None

    def reset_parameters(self) -> None:
        """Draw all parameters afresh; the output's variance is about that of nn.Conv2d for any m and K."""
        self.generator.reset_parameters()
        if self.guide is not None:
            self.guide.reset_parameters()
        self._reset_bias()

    def _reset_bias(self) -> None:
        if self.bias is not None:
            bound = 1 / math.sqrt(math.prod((self.in_channels // self.groups, *self.geometry.kernel_size)))
            nn.init.uniform_(self.bias, -bound, bound)

    @torch.no_grad()
    def preserve_(self, conv: nn.Conv2d) -> None:
        """Take over the function of `conv`, in every region and for every input; training can still tell them apart.

        Raises:
            ValueError: if the shapes of the two layers' filters or biases differ.
        """
        shape = (self.out_channels, self.in_channels // self.groups, *self.geometry.kernel_size)
        if tuple(conv.weight.shape) != shape or (conv.bias is None) != (self.bias is None):
            raise InputError(
                f"conv: got filters {tuple(conv.weight.shape)} {'without' if conv.bias is None else 'with'} bias, "
                f"allowed are {shape} {'without' if self.bias is None else 'with'} bias"
            )
        self.generator.preserve_(conv.weight)
        if self.bias is not None and conv.bias is not None:
            self.bias.copy_(conv.bias)

    def forward(self, input: Tensor, guide: Tensor | None = None) -> Tensor:
        """Convolve (N,C,H,W) -> (N,O,H',W'), or without N.

        `guide`: logits (N,m,h,w), or integer regions (N,h,w), in place of the layer's own; resized (nearest) to H'xW'.
        Under autocast the guide stays in float32.
        """
        if input.dim() == 3:
            return self.forward(input.unsqueeze(0), None if guide is None else guide.unsqueeze(0)).squeeze(0)
        self._check(input)
        if guide is None and self._in_one_go(input):
            return self._infer(input)
        chosen = self.guide_for(input, guide)
        made = self.generator(input)
        bias = None if self.bias is None else self.bias.to(input.dtype)
        output: Tensor = self.generator.convolve(
            self.geometry.pad(input),
            made,
            chosen,
            bias,
            stride=self.geometry.stride,
            padding=self.geometry.conv_padding,
            dilation=self.geometry.dilation,
            groups=self.groups,
        )
        return output

    def _in_one_go(self, input: Tensor) -> bool:
        """Whether one op may do it all: nothing is narrowed or watched in between, nothing padded before.

        While it learns, the steps are faster; a trace is to be the same with and without gradients.
        """
        generator, guide = self.generator, self.guide
        learns = torch.is_grad_enabled() and not torch._C._is_tracing()
        if learns or guide is None or not isinstance(generator, ExpertGenerator):
            return False
        steps = (guide, generator, generator.routing)
        watched = any(step._forward_hooks or step._forward_pre_hooks for step in steps)
        device = input.device.type
        autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        narrowed = autocast or input.dtype != generator.bank.dtype
        return not watched and not narrowed and self.geometry.native and guide.geometry.native

    def _infer(self, input: Tensor) -> Tensor:
        assert self.guide is not None
        assert isinstance(self.generator, ExpertGenerator)
        self.geometry.output_size(*input.shape[-2:])  # refuses an input that is smaller than the kernel
        return expert_layer(
            input,
            self.generator.bank.view(self.generator.experts, *self.generator.filter_shape),
            self.generator.routing.weight,
            self.generator.routing.bias,
            self.guide.weight,
            self.bias,
            self.geometry.stride,
            self.geometry.conv_padding,
            self.geometry.dilation,
            self.groups,
            self.guide.geometry.conv_padding,
        )

    def guide_for(self, input: Tensor, guide: Tensor | None = None) -> Tensor:
        """The guide of `input` (N,C,H,W) at the output's size: logits (N,m,H',W') or integer regions (N,H',W')."""
        size = self.geometry.output_size(*input.shape[-2:])
        if guide is not None:
            return fit(guide, size, input.shape[0], self.regions)
        if self.guide is not None:
            logits: Tensor = self.guide(input)
            return logits
        if self.regions == 1:
            return torch.zeros(1, 1, 1, dtype=torch.long, device=input.device).expand(input.shape[0], *size)
        raise InputError("guide: this layer holds none of its own (own_guide=False), hand one in")

    @torch.no_grad()
    def regions_of(self, input: Tensor, guide: Tensor | None = None) -> Tensor:
        """Which region each output position belongs to: (N,H',W') integers, for pictures and statistics."""
        if input.dim() == 3:
            return self.regions_of(input.unsqueeze(0), None if guide is None else guide.unsqueeze(0)).squeeze(0)
        self._check(input)
        chosen = self.guide_for(input, guide)
        return chosen.argmax(1) if chosen.is_floating_point() else chosen

    def cost(self, input_shape: tuple[int, ...]) -> dict[str, int]:
        """Multiply-adds per sample by the convention, for an input of (C,H,W); a leading N is ignored.

        A guide that is handed in costs this layer nothing: it is counted where it is made.
        """
        height, width = self.geometry.output_size(*input_shape[-2:])
        filters = self.out_channels * (self.in_channels // self.groups) * math.prod(self.geometry.kernel_size)
        guide = 0 if self.guide is None else self.guide.cost(input_shape)["guide"]
        return {"region_conv": height * width * filters, "guide": guide, **self.generator.cost()}

    def _check(self, input: Tensor) -> None:
        """Refuse what nn.Conv2d refuses, but float32 and narrower types side by side."""
        if input.dim() != 4 or (not torch._C._is_tracing() and input.shape[1] != self.in_channels):
            raise InputError(
                f"input: got shape {tuple(input.shape)}, allowed are (N, {self.in_channels}, H, W) and "
                f"({self.in_channels}, H, W)"
            )
        own, given = self.generator.dtype, input.dtype
        if given != own and (torch.float64 in (own, given) or not input.is_floating_point()):
            got, wanted = (str(dtype).removeprefix("torch.") for dtype in (given, own))
            raise InputError(f"input: got {got}; expected the layer's {wanted}. Convert one of them with .to()")

    def extra_repr(self) -> str:
        """What printing shows."""
        g = self.geometry
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={g.kernel_size}, stride={g.stride}, "
            f"regions={self.regions}, groups={self.groups}, bias={self.bias is not None}"
        )
