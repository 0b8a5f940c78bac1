"""Calls that were found right once: a second one of the same shapes is not checked again.

Checking takes some ten microseconds, as long as a small convolution. Only calls whose tensors share dtype and device
are remembered: whether others are allowed depends on autocast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from drbench_kernels.geometry import Geometry

known: dict[Any, Geometry] = {}
"""What `call_key` gave -> the call's geometry."""
_MOST = 4096


def tracing() -> bool:
    """Whether torch.jit.trace is at work: sizes are tensors then, and there is nothing to check."""
    return not torch.compiler.is_compiling() and torch._C._is_tracing()  # in this order: dynamo knows the first alone


def call_key(tensors: Sequence[Tensor | None], *windows: Any) -> Any:
    """All that checking depends on, hashable; None where it must be done anew (traced shapes, lists for pairs)."""
    if torch.compiler.is_compiling() or tracing():
        return None
    first = tensors[0]
    if not all(tensor is None or isinstance(tensor, Tensor) for tensor in tensors) or first is None:
        return None  # which is refused
    dtype, device = first.dtype, first.device
    key: list[Any] = [dtype, device, windows]
    for number, tensor in enumerate(tensors):
        if tensor is None:
            key.append(None)
            continue
        guide = number == len(tensors) - 2  # of any dtype
        if tensor.device != device or (tensor.dtype != dtype and not guide):
            return None
        key.append(tensor.shape)
        if guide:
            key.append(tensor.dtype)
    whole = tuple(key)
    try:
        hash(whole)
    except TypeError:
        return None
    return whole


def remember(key: Any, geometry: Geometry, input: Tensor, padded: Tensor) -> Tensor:
    """Note a call that is right; gives the input that it goes on with. One that had to be padded is not noted."""
    if key is not None and padded is input:
        if len(known) >= _MOST:
            known.clear()
        known[key] = geometry
    return padded
