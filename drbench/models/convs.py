"""Which modules are convolutions that an operator can stand in for, and what to build it with."""

from __future__ import annotations

from typing import Any

from timm.layers import Conv2dSame  # type: ignore[attr-defined]
from torch import nn
from torch.nn.modules.conv import _ConvNd

from drbench.errors import InputError

KNOWN = "torch.nn.Conv2d, timm.layers.Conv2dSame"


def replaceable(module: nn.Module) -> bool:
    """Whether `module` is an nn.Conv2d or one of the subclasses that compute the same."""
    return type(module) in (nn.Conv2d, Conv2dSame)


def convolution_like(module: nn.Module) -> bool:
    """Whether `module` is a layer that says it convolves: what a pattern must not pass over in silence."""
    leaf = next(module.children(), None) is None
    return isinstance(module, _ConvNd) or (leaf and "conv" in type(module).__name__.lower())


def describe(module: nn.Module) -> str:
    """'torch.nn.ConvTranspose2d', for an error."""
    kind = type(module)
    return f"{kind.__module__.removesuffix('.modules.conv')}.{kind.__name__}"


def arguments(name: str, conv: nn.Module) -> dict[str, Any]:
    """What to call an operator with in place of `conv`, device and dtype apart.

    InputError, with the module's name and class, for one that can't be replaced.
    """
    if not replaceable(conv) or not isinstance(conv, nn.Conv2d):
        raise InputError(f"{name!r} is a {describe(conv)}, which can't be replaced: allowed are {KNOWN}")
    if conv._forward_hooks or conv._forward_pre_hooks or conv._backward_hooks:
        raise InputError(f"{name!r} carries hooks that a replacement would lose: remove them first")
    return {
        "in_channels": conv.in_channels,
        "out_channels": conv.out_channels,
        "kernel_size": conv.kernel_size,
        "stride": conv.stride,
        "padding": _padding(name, conv),
        "dilation": conv.dilation,
        "groups": conv.groups,
        "bias": conv.bias is not None,
        "padding_mode": conv.padding_mode,
    }


def _padding(name: str, conv: nn.Conv2d) -> Any:
    if type(conv) is nn.Conv2d or conv.kernel_size == (1, 1):
        return conv.padding if type(conv) is nn.Conv2d else 0
    if conv.stride == (1, 1):  # TensorFlow's 'same' is PyTorch's then
        return "same"
    raise InputError(
        f"{name!r} is a {describe(conv)} with stride {conv.stride}, whose padding depends on the input's size: it can "
        "be replaced at stride 1 or with a 1x1 kernel only"
    )
