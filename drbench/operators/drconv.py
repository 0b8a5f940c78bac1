"""Dynamic Region-Aware Convolution: a convolution whose filters depend on the sample and on the region.

Chen, Wang, Guo, Zhang, Sun, "Dynamic Region-Aware Convolution", CVPR 2021, https://arxiv.org/abs/2003.12243

A guide assigns every output position to one of m regions; a generator makes m filters from the whole input; every
position is convolved with the filter of its region.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeGuard

import torch
from drbench_kernels import expert_layer, native, paths
from torch import Tensor, nn

from drbench.errors import InputError
from drbench.operators.generators import GENERATORS, INITIALISATIONS, ExpertGenerator
from drbench.operators.geometry import Pair, choice, pad, pair, tracing, whole
from drbench.operators.guide import GuideConv2d, fit
from drbench.operators.layer import ConvLayer, check_elements, flag, plain


class DRConv2d(ConvLayer):
    """Drop-in for nn.Conv2d whose filters depend on sample and region.

    >>> layer = DRConv2d(16, 32, kernel_size=3, padding=1, regions=4)
    >>> layer(torch.randn(2, 16, 8, 8)).shape
    torch.Size([2, 32, 8, 8])
    >>> sum(layer.cost((16, 8, 8)).values()) > 64 * 32 * 16 * 9  # one filter a position, and the guide
    True

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype:
            as in nn.Conv2d, padding 'same' and 'valid' included.
        regions: m, the number of regions, at least 1. A layer with one region has no guide.
        experts: K, the number of filters that generator 'experts' mixes; 'grouped' does not use it.
        generator: 'experts' (the authors' released code) or 'grouped' (the paper's text).
        guide_kernel_size: kernel size of the guide; None is the kernel size of the layer. The guide is a dense
            convolution to m channels. In a depthwise layer it costs m times as many multiply-adds as the layer itself,
            and m / (kh*kw) times as many with a guide kernel of 1.
        own_guide: False for a layer without a guide of its own: the caller passes the guide to each call.
        initialisation: how the K filters are drawn: 'conv' (the output variance of nn.Conv2d) or 'released'; 'grouped'
            does not use it.

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
        self.regions = whole("regions", regions)
        experts = whole("experts", experts)
        choice("generator", generator, GENERATORS)
        choice("initialisation", initialisation, INITIALISATIONS)
        flag("own_guide", own_guide)
        if guide_kernel_size is None:
            guide_kernel_size = self.kernel_size
        guide_kernel = pair("guide_kernel_size", guide_kernel_size, 1)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        options: dict[str, Any] = {"experts": experts, "initialisation": initialisation}
        self.generator = GENERATORS[generator](
            self.in_channels,
            self.filter_shape,
            self.regions,
            **(options if generator == "experts" else {}),
            **factory,
        )
        self.guide: GuideConv2d | None = None
        if own_guide and self.regions > 1:  # one region needs no choice
            check_elements("guide_kernel_size", self.regions, self.in_channels, *guide_kernel)
            self.guide = self.make_guide(
                self.in_channels, self.regions, self.geometry.with_kernel(guide_kernel), **factory
            )
        self.register_parameter("bias", nn.Parameter(torch.empty(self.out_channels, **factory)) if bias else None)
        self._reset_bias()

    @classmethod
    def make_guide(cls, in_channels: int, regions: int, *args: Any, **factory: Any) -> GuideConv2d | None:
        """The guide of a layer of this kind, also for a block that shares one; None where one region needs none.

        An operator with this method and `forward(input, guide=None)` can be used with guide='block'.
        """
        return GuideConv2d(in_channels, regions, *args, **factory) if regions > 1 else None

    @staticmethod
    def build_kernels(device: torch.device, say: Callable[[str], object]) -> None:
        """Build the native kernels if `device` is a CPU and they are missing; `say` gets progress, or one warning."""
        if device.type == "cpu":
            native.ensure(say)

    @staticmethod
    def kernels_used(device: torch.device, dtype: torch.dtype) -> str:
        """What computes a layer of this kind: "native avx2", "triton" or "torch"."""
        path = paths.region_path(device.type, dtype)
        if path == paths.NATIVE:
            return f"native {native.kernels()}"
        return "triton" if path in (paths.TRITON_REGION, paths.TRITON_EXPERT) else "torch"

    def reset_parameters(self) -> None:
        """Draw all parameters afresh; the output's variance is about that of nn.Conv2d for any m and K."""
        self.generator.reset_parameters()
        if self.guide is not None:
            self.guide.reset_parameters()
        self._reset_bias()

    def _reset_bias(self) -> None:
        if self.bias is not None:
            bound = 1 / math.sqrt(math.prod(self.filter_shape[1:]))
            nn.init.uniform_(self.bias, -bound, bound)

    @torch.no_grad()
    def preserve_(self, conv: nn.Conv2d) -> None:
        """Take over the function of `conv`, in every region and for every input; training can still tell them apart.

        Raises:
            ValueError: if the shapes of the two layers' filters or biases differ.
        """
        self.check_conv(conv)
        self.generator.preserve_(conv.weight)
        if self.bias is not None and conv.bias is not None:
            self.bias.copy_(conv.bias)

    def forward(self, input: Tensor, guide: Tensor | None = None) -> Tensor:
        """Convolve (N,C,H,W) -> (N,O,H',W'), or without N.

        `guide`: logits (N,m,h,w), or integer regions (N,h,w), in place of the layer's own; resized (nearest) to H'xW'.
        Under autocast the guide stays in float32.
        """
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            return self._scripted(input, guide)
        if not isinstance(input, Tensor):
            made: Tensor = self.other_input(input, guide)
            return made
        if guide is not None and not isinstance(guide, Tensor):
            raise InputError(f"guide: got a {type(guide).__name__}; expected a tensor or None")
        return self._run(input, guide)

    def _scripted(self, input: Tensor, guide: Tensor | None) -> Tensor:
        """`forward` for TorchScript: checks nothing, and autocast narrows the guide.

        A guide that is handed in has the output's size.
        """
        one = len(input.shape) == 3
        x = input.unsqueeze(0) if one else input
        if guide is not None and one:
            guide = guide.unsqueeze(0)
        bias = self.bias
        y = self.generator.convolve(
            pad(x, self.own_pads, self.padding_mode),
            self.generator(x),
            self.chosen(x, guide),
            None if bias is None else bias.to(x.dtype),
            self.stride,
            self.own_padding,
            self.dilation,
            self.groups,
        )
        return y.squeeze(0) if one else y

    def chosen(self, input: Tensor, guide: Tensor | None) -> Tensor:
        """`guide_for`, for TorchScript."""
        return self.given(input, guide)

    def given(self, input: Tensor, guide: Tensor | None) -> Tensor:
        """The guide that was handed in, the layer's own, or region 0 everywhere."""
        if guide is not None:
            return guide
        if self.guide is not None:
            return self.guide(input)  # type: ignore[no-any-return]
        return torch.zeros(1, 1, 1, dtype=torch.long, device=input.device).expand(self.output_shape(input))

    def _run(self, input: Tensor, guide: Tensor | None) -> Tensor:
        if input.dim() == 3:
            return self.forward(input.unsqueeze(0), None if guide is None else guide.unsqueeze(0)).squeeze(0)
        generator = self.generator
        self.check_input(input, generator.dtype, mixed=True)
        if guide is None and self._in_one_go(generator, input):
            return self._infer(generator, input)
        chosen = self.guide_for(input, guide)
        made = generator(input)
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return generator.convolve(
            self.geometry.pad(input),
            made,
            chosen,
            bias,
            self.stride,
            self.own_padding,
            self.dilation,
            self.groups,
        )

    def _in_one_go(self, generator: nn.Module, input: Tensor) -> TypeGuard[ExpertGenerator]:
        """Whether one op may do it all: nothing is narrowed or watched in between, nothing padded before.

        While it learns, the steps are faster; a trace is to be the same with and without gradients.
        """
        if torch.is_grad_enabled() and not tracing():
            return False
        guide = self.guide
        if guide is None or not plain(guide, GuideConv2d) or not isinstance(generator, ExpertGenerator):
            return False
        if not plain(generator, ExpertGenerator) or not plain(generator.routing, nn.Linear):
            return False
        device = input.device.type
        autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        narrowed = autocast or input.dtype != generator.bank.dtype
        return not narrowed and self.geometry.native and guide.geometry.native

    def _infer(self, generator: ExpertGenerator, input: Tensor) -> Tensor:
        guide, geometry = self.guide, self.geometry
        assert guide is not None
        geometry.output_size(*input.shape[-2:])  # refuses an input that is smaller than the kernel
        routing = generator.routing
        return expert_layer(
            input,
            generator.bank.view(generator.experts, *generator.filter_shape),
            routing.weight,
            routing.bias,
            guide.weight,
            self.bias,
            geometry.stride,
            geometry.conv_padding,
            geometry.dilation,
            self.groups,
            guide.geometry.conv_padding,
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
        if not isinstance(input, Tensor):
            self.refuse(f"a {type(input).__name__}")
        if input.dim() == 3:
            return self.regions_of(input.unsqueeze(0), None if guide is None else guide.unsqueeze(0)).squeeze(0)
        self.check_input(input, self.generator.dtype, mixed=True)
        chosen = self.guide_for(input, guide)
        return chosen.argmax(1) if chosen.is_floating_point() else chosen

    def cost(self, input_shape: tuple[int, ...]) -> dict[str, int]:
        """Multiply-adds per sample by the convention, for an input of (C,H,W); a leading N is ignored.

        A guide that is handed in costs this layer nothing: it is counted where it is made.
        """
        height, width = self.geometry.output_size(*input_shape[-2:])
        filters = math.prod(self.filter_shape)
        guide = 0 if self.guide is None else self.guide.cost(input_shape)["guide"]
        return {"region_conv": height * width * filters, "guide": guide, **self.generator.cost()}

    @property
    def filters_are_made_from(self) -> str:  # type: ignore[override]
        """The names of the parameters that stand for nn.Conv2d's weight."""
        return ", ".join(f"generator.{name}" for name in self.generator.filters_are_made_from)

    def own_arguments(self) -> dict[str, Any]:
        """The arguments that nn.Conv2d does not have."""
        made = {"experts": self.generator.experts} if isinstance(self.generator, ExpertGenerator) else {}
        return {"regions": self.regions, **made, "generator": self.generator.name}
