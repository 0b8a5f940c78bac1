"""The first layers: fewer strides for small images, other channel counts for images that are not RGB."""

from __future__ import annotations

from torch import nn

from drbench.errors import InputError


def set_stride(model: nn.Module, strided: tuple[str, ...], stride: int) -> None:
    """Take strides out of the stem until `stride` is left in all; the resolution of everything behind it doubles.

    `strided` names the modules of the stem with stride 2, in the order in which they lose it: a pooling layer becomes
    an identity, a convolution keeps its weights. InputError for a total stride that the stem can't have.
    """
    allowed = [2**left for left in range(len(strided) + 1)]
    if stride not in allowed:
        raise InputError(
            f"stem_stride: got {stride!r}, allowed for this architecture are {', '.join(map(str, allowed))}"
        )
    for name in strided[: len(strided) - allowed.index(stride)]:
        module = model.get_submodule(name)
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
        else:
            model.set_submodule(name, nn.Identity())


def set_channels(model: nn.Module, conv_name: str, channels: int) -> None:
    """Make the first convolution take `channels` instead of 3; its weights are drawn afresh."""
    conv = model.get_submodule(conv_name)
    if not isinstance(conv, nn.Conv2d):
        raise InputError(f"input_shape: the stem {conv_name!r} is a {type(conv).__name__}, not a convolution")
    if channels == conv.in_channels:
        return
    fresh = nn.Conv2d(
        channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )
    nn.init.kaiming_normal_(fresh.weight, mode="fan_out")
    model.set_submodule(conv_name, fresh)
