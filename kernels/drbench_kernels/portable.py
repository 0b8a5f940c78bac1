"""The ops as plain aten operators, for programs that have to run where this package is not.

    program = torch.export.export(network, (x,)).run_decompositions(drbench_kernels.plain_ops())

Convolutions with all regions' filters or with all experts, then a choice: m or K times the multiply-adds. For
inference: the guide gets no gradient. Without this an exported program keeps the ops, which are faster and learn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from drbench_kernels import composite, layer

Ints = Sequence[int]


def plain_ops() -> dict[Any, Callable[..., Any]]:
    """Every op of a forward pass -> a function of plain aten operators, for `ExportedProgram.run_decompositions`.

    A program that went through it, saved, runs where `drbench_kernels` is not installed. For inference: training what
    was exported takes the program as it is, with the ops in it.
    """
    ops = torch.ops.drbench
    return {
        ops.region_conv2d.default: _region_conv2d,
        ops.expert_region_conv2d.default: _expert_region_conv2d,
        ops.expert_layer.default: layer.steps,
    }


def _regions(guide: Tensor) -> Tensor:
    return guide.max(1).indices if guide.is_floating_point() else guide.to(torch.int64)


def _region_conv2d(input: Tensor, filters: Tensor, guide: Tensor, *rest: Any) -> Tensor:
    return composite.region_conv2d(input, filters, _regions(guide), *rest)


def _expert_region_conv2d(
    input: Tensor,
    experts: Tensor,
    coefficients: Tensor,
    guide: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    groups: int,
) -> Tensor:
    """All K convolutions, weighted at every position by the coefficients of its region."""
    count, out = experts.shape[:2]
    grouped = torch.unflatten(experts, 1, (groups, out // groups)).transpose(0, 1).flatten(0, 2)
    every = F.conv2d(input, grouped, None, stride, padding, dilation, groups)
    every = torch.unflatten(every, 1, (groups, count, out // groups))
    chosen = _regions(guide).flatten(1).unsqueeze(2).expand(-1, -1, count)
    shares = torch.unflatten(coefficients.gather(1, chosen).transpose(1, 2), 2, guide.shape[-2:])
    y = (every * shares[:, None, :, None]).sum(2).flatten(1, 2).to(input.dtype)
    return y if bias is None else y + bias.view(-1, 1, 1)
