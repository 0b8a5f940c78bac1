"""Which modules are convolutions that an operator can stand in for, and what to build it with."""

from __future__ import annotations

from typing import Any

from timm.layers import Conv2dSame  # type: ignore[attr-defined]
from torch import nn
from torch.nn.modules.conv import _ConvNd

from drbench.models import carry


def convolution_like(module: nn.Module) -> bool:
    """Whether `module` is a layer that says it convolves: what a pattern must not pass over in silence."""
    leaf = next(module.children(), None) is None
    name = getattr(module, "original_name", type(module).__name__)  # TorchScript's modules are all of one class
    return isinstance(module, _ConvNd) or (leaf and "conv" in str(name).lower())


def describe(module: nn.Module) -> str:
    """'torch.nn.ConvTranspose2d', for an error."""
    kind = type(module)
    return f"{kind.__module__.removesuffix('.modules.conv')}.{kind.__name__}"


def unsuitable(module: nn.Module) -> str | None:
    """Why an operator can't replace `module`, as "a CLASS ..."; None if one can.

    Only modules that compute what nn.Conv2d computes are replaced: itself, timm's Conv2dSame, and subclasses without a
    forward of their own.
    """
    kind = type(module)
    plain = isinstance(module, nn.Conv2d) and all(
        getattr(kind, method) is getattr(nn.Conv2d, method) for method in ("forward", "_conv_forward", "__call__")
    )
    if not isinstance(module, nn.Conv2d) or not (plain or kind is Conv2dSame):
        own = "computes its output in its own way" if isinstance(module, nn.Conv2d) else "is no torch.nn.Conv2d"
        return f"a {describe(module)}, which {own}"
    if kind is Conv2dSame and module.kernel_size != (1, 1) and module.stride != (1, 1):
        return f"a {describe(module)} with stride {module.stride}, whose padding depends on the input's size"
    reason = carry.lost(module)
    return f"a {describe(module)} {reason}" if reason else None


def arguments(conv: nn.Conv2d) -> dict[str, Any]:
    """What to call an operator with in place of `conv`, device and dtype apart."""
    return {
        "in_channels": conv.in_channels,
        "out_channels": conv.out_channels,
        "kernel_size": conv.kernel_size,
        "stride": conv.stride,
        "padding": _padding(conv),
        "dilation": conv.dilation,
        "groups": conv.groups,
        "bias": conv.bias is not None,
        "padding_mode": conv.padding_mode,
    }


def _padding(conv: nn.Conv2d) -> Any:
    if not isinstance(conv, Conv2dSame):
        return conv.padding
    return 0 if conv.kernel_size == (1, 1) else "same"  # TensorFlow's 'same' is PyTorch's at stride 1


def words(conv: nn.Conv2d) -> str:
    """'Conv2d 3x3, 8 -> 12, stride 2, groups 4', for a table."""
    parts = [f"{type(conv).__name__} {_pair(conv.kernel_size)}", f"{conv.in_channels} -> {conv.out_channels}"]
    for name, value, usual in (
        ("stride", _pair(conv.stride), "1x1"),
        ("dilation", _pair(conv.dilation), "1x1"),
        ("groups", str(conv.groups), "1"),
    ):
        if value != usual:
            parts.append(f"{name} {value}")
    return ", ".join(parts)


def _pair(value: tuple[int, ...]) -> str:
    return "x".join(map(str, value))
