"""Region convolution with the filters of every region at hand: sort the positions by region, one GEMM per region.

Each position meets one filter only, so forward costs what the plain convolution costs. Selection is by index, never by
multiplying with a mask: a NaN at one position cannot reach another.

Shapes: rows (G, N*P, D), filters (S, m, O, D*) with S = N or 1 (shared by the batch), regions (N*P,) int64.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor


def grouped_filters(filters: Tensor, groups: int) -> Tensor:
    """(N, m, O, C/g, kh, kw), or without N -> (N or 1, m, G, O/G, D)."""
    if filters.dim() == 5:
        filters = filters.unsqueeze(0)
    samples, regions, out = filters.shape[:3]
    return filters.reshape(samples, regions, groups, out // groups, prod(filters.shape[3:]))


def segments(regions: Tensor, samples: int, count: int) -> tuple[Tensor, list[int]]:
    """The order that sorts positions by (sample, region), and how many each (sample, region) has."""
    per_sample = regions.view(samples, -1)
    key = (per_sample + count * torch.arange(samples, device=regions.device).unsqueeze(1)).reshape(-1)
    order = key.argsort(stable=True)
    return order, torch.bincount(key, minlength=samples * count).tolist()


def _spans(lengths: list[int], count: int) -> Iterator[tuple[int, int, slice]]:
    """(sample, region, where its rows lie) for every region that has any."""
    start = 0
    for index, length in enumerate(lengths):
        if length:
            yield index // count, index % count, slice(start, start + length)
        start += length


def forward(rows: Tensor, filters: Tensor, regions: Tensor) -> Tensor:
    """(G, N*P, O/G): every row times the filter of its region."""
    samples, count, groups, out = filters.shape[:4]
    order, lengths = segments(regions, samples, count)
    sorted_rows = rows.index_select(1, order)
    products = rows.new_empty(groups, rows.shape[1], out)
    for sample, region, span in _spans(lengths, count):
        filter_ = filters[sample, region].transpose(1, 2)
        if groups == 1:
            torch.mm(sorted_rows[0, span], filter_[0], out=products[0, span])
        else:
            products[:, span] = torch.bmm(sorted_rows[:, span], filter_)
    result = torch.empty_like(products)
    result[:, order] = products
    return result


def backward_filters(rows: Tensor, grad: Tensor, filters: Tensor, regions: Tensor) -> Tensor:
    """dW (as `filters`): over the positions of each region only; zero for an empty region."""
    samples, count = filters.shape[:2]
    order, lengths = segments(regions, samples, count)
    sorted_rows, sorted_grad = rows.index_select(1, order), grad.index_select(1, order)
    result = torch.zeros_like(filters)
    for sample, region, span in _spans(lengths, count):
        result[sample, region] = torch.bmm(sorted_grad[:, span].transpose(1, 2), sorted_rows[:, span])
    return result


def backward_rows(grad: Tensor, filters: Tensor, regions: Tensor) -> Tensor:
    """dX for fixed regions: the same sort, with the filters transposed."""
    return forward(grad, filters.transpose(3, 4), regions)


def backward_rows_and_guide(rows: Tensor, grad: Tensor, filters: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
    """dX and dF~ (N*P, m) for a guide that learns: needs every region's product u_j = W_j^T g, one region at a time.

    dF~_j = <u_j, x>, and dX is the u_j of the position's own region.
    """
    samples, count, groups = filters.shape[:3]
    shape = rows.shape
    grad = grad.view(groups, samples, -1, grad.shape[2])
    rows = rows.reshape(groups, samples, -1, shape[2])
    chosen = regions.view(1, samples, -1, 1)
    result = torch.zeros_like(rows)
    scores = rows.new_empty(samples, rows.shape[2], count)
    for region in range(count):
        product = torch.matmul(grad, filters[:, region].transpose(0, 1))
        scores[:, :, region] = torch.linalg.vecdot(product, rows).sum(0)
        result = torch.where(chosen == region, product, result)
    return result.view(shape), scores.view(-1, count)
