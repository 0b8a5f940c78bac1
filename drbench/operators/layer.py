"""What all operators share: each looks like the nn.Conv2d that it replaces.

Code around a network reads a convolution's attributes (timm, quantizers, counters), prints it, traces it with torch.fx
and calls its hooks. Nothing here computes.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor, fx, nn
from torch.nn.modules import module as torch_modules

from drbench import bounds
from drbench.errors import InputError
from drbench.operators.geometry import Geometry, Pair, channels, shown, tracing


class ConvLayer(nn.Module):
    """An operator with the attributes of nn.Conv2d, same names, types and values; `weight` apart.

    An operator has one filter for each sample or position and so no `weight`: reading it is an AttributeError that says
    which parameters there are, and `hasattr(layer, "weight")` is False.
    """

    __jit_unused_properties__ = ("filter_shape", "itself", "filters_are_made_from", "bias")
    filters_are_made_from = "its parameters"
    """The names of the parameters that stand for nn.Conv2d's weight."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair,
        padding: Pair | str,
        dilation: Pair,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = channels(in_channels, out_channels, groups)
        self.geometry = Geometry.of(kernel_size, stride, padding, dilation, padding_mode)
        self.kernel_size = self.geometry.kernel_size
        self.stride = self.geometry.stride
        left, right, top, bottom = self.geometry.pads
        self.padding = padding if isinstance(padding, str) else (top, left)
        self.dilation = self.geometry.dilation
        self.transposed = False
        self.output_padding = (0, 0)
        self.padding_mode = padding_mode
        # what torch's own code hands to F.pad: a list for 'same' and 'valid', else a tuple
        pads = [left, right, top, bottom]
        self._reversed_padding_repeated_twice = pads if isinstance(padding, str) else tuple(pads)
        self.reach = self.geometry.pads
        self.own_pads = self.geometry.own_pads
        self.own_padding = self.geometry.conv_padding
        flag("bias", bias)
        _check_factory(device, dtype)

    @property
    def filter_shape(self) -> tuple[int, int, int, int]:
        """(O, C/groups, kh, kw), as nn.Conv2d's weight."""
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    @property
    def itself(self) -> nn.Module:
        """This layer: what torch.fx calls where the layer is all that is traced."""
        return self

    def __getattr__(self, name: str) -> Any:
        """As nn.Module, but for `weight`."""
        if name == "weight":
            raise AttributeError(
                f"weight: {type(self).__name__} has none, its filters are made for every input from "
                f"{self.filters_are_made_from}; use those, or parameters() for all"
            )
        return super().__getattr__(name)

    def other_input(self, *inputs: Any) -> Any:
        """Handle an input that is not a tensor.

        While torch.fx traces it is a proxy, and one node that calls this layer goes into the graph, as for torch's own
        layers. Anything else is refused.
        """
        if not isinstance(inputs[0], fx.Proxy):
            self.refuse(f"a {type(inputs[0]).__name__}")
        tracer = inputs[0].tracer
        path = tracer.path_of_module(self)  # type: ignore[attr-defined]  # every tracer of modules has it
        return tracer.create_proxy("call_module", path or "itself", inputs, {})

    def check_input(self, input: Tensor, own: torch.dtype, mixed: bool) -> None:
        """Refuse what nn.Conv2d refuses. `mixed`: float32 and narrower types may meet."""
        if input.dim() != 4 or (not tracing() and input.shape[1] != self.in_channels):
            self.refuse(f"shape {tuple(input.shape)}")
        given = input.dtype
        if given == own:
            return
        device = input.device.type
        mixed = mixed or (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device))
        if not mixed or torch.float64 in (own, given) or not input.is_floating_point():
            got, wanted = (str(dtype).removeprefix("torch.") for dtype in (given, own))
            raise InputError(f"input: got {got}; expected the layer's {wanted}. Convert one of them with .to()")

    def refuse(self, got: str) -> NoReturn:
        """Raise the error for an input that is neither a batch of images nor an image with the layer's channels."""
        c = self.in_channels
        raise InputError(f"input: got {got}; expected a tensor (N, {c}, H, W) or ({c}, H, W)")

    def output_shape(self, input: Tensor) -> list[int]:
        """[N, H', W'], for TorchScript."""
        left, right, top, bottom = self.reach
        rows = (input.shape[2] + top + bottom - self.dilation[0] * (self.kernel_size[0] - 1) - 1) // self.stride[0] + 1
        columns = (input.shape[3] + left + right - self.dilation[1] * (self.kernel_size[1] - 1) - 1) // self.stride[
            1
        ] + 1
        return [input.shape[0], rows, columns]

    def check_conv(self, conv: Any) -> None:
        """InputError unless this layer's filters and bias have the shapes of `conv`'s."""
        if not isinstance(conv, nn.Conv2d):
            raise InputError(f"conv: got a {type(conv).__name__}; expected a torch.nn.Conv2d")
        given, has_bias = tuple(conv.weight.shape), self.bias is not None
        if given != self.filter_shape or (conv.bias is not None) != has_bias:
            raise InputError(
                f"conv: got filters {given} {'without' if conv.bias is None else 'with'} bias, "
                f"expected {self.filter_shape} {'with' if has_bias else 'without'} bias"
            )

    def extra_repr(self) -> str:
        """What printing shows: all that nn.Conv2d shows, and the operator's own."""
        own = "".join(f", {name}={value!r}" for name, value in self.own_arguments().items())
        plain_text: str = nn.Conv2d.extra_repr(self)  # type: ignore  # needs the attributes alone
        return plain_text + own

    def own_arguments(self) -> dict[str, Any]:
        """The arguments that nn.Conv2d does not have."""
        return {}


def plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether calling `module` is `kind.forward` and nothing else: no subclass, parametrization, hook or patch.

    Only then may a layer compute in the module's place.
    """
    hooks = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    everywhere = torch_modules._global_forward_hooks or torch_modules._global_forward_pre_hooks
    return type(module) is kind and not hooks and not everywhere and "forward" not in module.__dict__


def flag(name: str, value: Any) -> bool:
    """`value` if it is True or False; InputError names the argument."""
    if not isinstance(value, bool):
        raise InputError(f"{name}: got {shown(value)}; expected True or False")
    return value


def check_elements(name: str, *sizes: int) -> None:
    """InputError, before anything is allocated, for a parameter of more elements than bounds.ELEMENTS."""
    count = 1
    for size in sizes:
        count *= size
    if count > bounds.ELEMENTS:
        raise InputError(
            f"{name}: got {' x '.join(map(str, sizes))} = {count:,} parameters; expected at most {bounds.ELEMENTS:,}. "
            "Use fewer channels, regions or experts, or a smaller kernel"
        )


def _check_factory(device: Any, dtype: Any) -> None:
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise InputError(f"dtype: got {shown(dtype)}; expected a floating type of torch")
    try:
        if device is not None:
            torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        raise InputError(f"device: got {shown(device)}; expected a device of torch, as 'cpu' or 'cuda:0'") from None
