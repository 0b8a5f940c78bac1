"""Operators: drop-ins for nn.Conv2d, each one idea.

An operator is called like nn.Conv2d, with its own keyword arguments behind, and may define
`cost(input_shape) -> {part: multiply_adds}` (per sample), `preserve_(conv)` (take over a convolution's function) and,
to share a block's guide, `make_guide(in_channels, regions, **factory)` with `forward(input, guide=None)`. An operator
with kernels of its own may have two static methods: `build_kernels(device, say)` builds what is missing before anything
is timed, `kernels_used(device, dtype)` names what computes it, for the record.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from drbench.operators.condconv import CondConv2d
from drbench.operators.controls import FixedGridConv2d, RandomGuideConv2d
from drbench.operators.drconv import DRConv2d
from drbench.operators.guide import GuideConv2d

OPERATORS: dict[str, Callable[..., nn.Module]] = {
    "drconv": DRConv2d,
    "condconv": CondConv2d,
    "fixed-grid": FixedGridConv2d,
    "random-guide": RandomGuideConv2d,
}

__all__ = ["OPERATORS", "CondConv2d", "DRConv2d", "FixedGridConv2d", "GuideConv2d", "RandomGuideConv2d"]
