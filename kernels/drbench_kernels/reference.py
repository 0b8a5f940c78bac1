"""The definition, what every path is held against: by plain loops in float64, and by all m convolutions and a choice.

Nobody runs the loops for speed; what people paste today is the second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]


@dataclass(frozen=True)
class Gradients:
    """dL/d of each argument, float64. `guide` is None for fixed regions."""

    input: Tensor
    filters: Tensor
    guide: Tensor | None
    bias: Tensor


def regions_by_loops(guide: Tensor) -> list[list[list[int]]]:
    """[n][row][column] region: the lowest index among the largest logits; NaN counts as larger than anything."""
    if not guide.is_floating_point():
        return guide.tolist()
    logits = guide.double().permute(0, 2, 3, 1).tolist()
    return [[[_argmax(values) for values in row] for row in image] for image in logits]


def _argmax(values: list[float]) -> int:
    best = 0
    for index, value in enumerate(values):
        if math.isnan(value):
            return index
        if value > values[best]:
            best = index
    return best


def _taps(
    x: Tensor, position: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
) -> Iterator[tuple[int, int, int, int]]:
    """(i, j, row, column) of every filter tap that falls inside the image, for one output position."""
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            row = position[0] * stride[0] + i * dilation[0] - padding[0]
            column = position[1] * stride[1] + j * dilation[1] - padding[1]
            if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                yield i, j, row, column


def region_conv2d_reference(
    input: Tensor,
    filters: Tensor,
    guide: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """(N, O, H', W') float64; arguments as `drbench_kernels.region_conv2d`, pairs only."""
    x, w = input.double(), filters.double()
    out, depth, kh, kw = w.shape[-4:]
    per_group = out // groups
    regions = regions_by_loops(guide)
    height, width = guide.shape[-2:]
    y = torch.zeros(x.shape[0], out, height, width, dtype=torch.float64)
    for n in range(x.shape[0]):
        own = w[n] if w.dim() == 6 else w
        for a in range(height):
            for b in range(width):
                w_r = own[regions[n][a][b]]
                for i, j, row, column in _taps(x[n], (a, b), (kh, kw), stride, padding, dilation):
                    for g in range(groups):
                        o, c = slice(g * per_group, (g + 1) * per_group), slice(g * depth, (g + 1) * depth)
                        y[n, o, a, b] += w_r[o, :, i, j] @ x[n, c, row, column]
    return y if bias is None else y + bias.double().view(-1, 1, 1)


def region_conv2d_gradients(
    grad: Tensor,
    input: Tensor,
    filters: Tensor,
    guide: Tensor,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Gradients:
    """The gradients as the paper defines them, for grad = dL/dy; pairs only.

    dx, dW by the hard region; dF~[n,j,p] = <g, W_j * x at p>; dF = F~ (dF~ - sum_k F~_k dF~_k) with F~ = softmax(F).
    """
    x, w, dy = input.double(), filters.double(), grad.double()
    count, out, depth, kh, kw = w.shape[-5:]
    per_group = out // groups
    regions = regions_by_loops(guide)
    dx, dw = torch.zeros_like(x), torch.zeros_like(w)
    n_samples, _, height, width = dy.shape
    scores = torch.zeros(n_samples, count, height, width, dtype=torch.float64)
    for n in range(n_samples):
        own, own_dw = (w[n], dw[n]) if w.dim() == 6 else (w, dw)
        for a in range(height):
            for b in range(width):
                r = regions[n][a][b]
                for i, j, row, column in _taps(x[n], (a, b), (kh, kw), stride, padding, dilation):
                    for g in range(groups):
                        o, c = slice(g * per_group, (g + 1) * per_group), slice(g * depth, (g + 1) * depth)
                        pixel, dy_p = x[n, c, row, column], dy[n, o, a, b]
                        dx[n, c, row, column] += own[r, o, :, i, j].T @ dy_p
                        own_dw[r, o, :, i, j] += torch.outer(dy_p, pixel)
                        for k in range(count):
                            scores[n, k, a, b] += dy_p @ (own[k, o, :, i, j] @ pixel)
    guide_gradient = None
    if guide.is_floating_point():
        soft = torch.softmax(guide.double(), 1)
        guide_gradient = soft * (scores - (soft * scores).sum(1, keepdim=True))
    return Gradients(dx, dw, guide_gradient, dy.sum((0, 2, 3)))


def region_conv2d_by_choice(
    input: Tensor,
    filters: Tensor,
    guide: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """All m convolutions in full, then a choice at each position; in the arguments' own dtype, differentiable.

    The choice is multiplied by the one-hot mask plus (softmax - softmax.detach()), which is 0 and has the gradient that
    the paper gives the guide. NaN and Inf spread to where the mask is 0: not for testing those.
    """
    n, count = input.shape[0], filters.shape[-5]
    own = filters if filters.dim() == 6 else filters.expand(n, *filters.shape)
    outputs = [
        F.conv2d(input[i : i + 1], own[i].flatten(0, 1), None, stride, padding, dilation, groups)
        if groups == 1
        else torch.cat(
            [F.conv2d(input[i : i + 1], own[i, j], None, stride, padding, dilation, groups) for j in range(count)], 1
        )
        for i in range(n)
    ]
    every = torch.cat(outputs).view(n, count, own.shape[2], *guide.shape[-2:])
    if guide.is_floating_point():
        soft = guide.softmax(1)
        mask = F.one_hot(guide.argmax(1), count).permute(0, 3, 1, 2).to(every) + (soft - soft.detach()).to(every)
    else:
        mask = F.one_hot(guide.long(), count).permute(0, 3, 1, 2).to(every)
    y = (every * mask.unsqueeze(2)).sum(1)
    return y if bias is None else y + bias.view(-1, 1, 1)
