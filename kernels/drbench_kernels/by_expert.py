"""Region convolution whose filters are mixed from shared experts, without building the filters.

    y_p = sum_k E_k (a[n, r(p), k] x_p)

is one GEMM over K*D inputs: K times the multiply-adds of one filter per position, but none for mixing, no N*m filters
in memory, and no loop over regions. Backward is three GEMMs. It wins where positions are few (see `paths`).

Shapes: rows (G, N*P, D), experts (K, G, O/G, D), coefficients (N, m, K), in the dtype of the rows or wider, regions
(N*P,) int64.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _position_coefficients(coefficients: Tensor, regions: Tensor) -> Tensor:
    """(N*P, K): each position's coefficients, those of its region."""
    samples, _, experts = coefficients.shape
    index = regions.view(samples, -1, 1).expand(-1, -1, experts)
    return coefficients.gather(1, index).reshape(-1, experts)


def _weighted(rows: Tensor, weights: Tensor) -> Tensor:
    """(G, N*P, K*D): each row once for every expert, times its coefficient."""
    groups, positions = rows.shape[:2]
    return (weights.unsqueeze(2) * rows.unsqueeze(2)).to(rows.dtype).view(groups, positions, -1)


def forward(rows: Tensor, experts: Tensor, coefficients: Tensor, regions: Tensor) -> Tensor:
    """(G, N*P, O/G)."""
    weights = _position_coefficients(coefficients, regions)
    stacked = experts.permute(1, 0, 3, 2).flatten(1, 2)
    return torch.bmm(_weighted(rows, weights), stacked)


def backward(
    rows: Tensor, grad: Tensor, experts: Tensor, coefficients: Tensor, regions: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """dX (G, N*P, D), dE (as experts), dA (as coefficients) and dF~ (N*P, m).

    With u_k = E_k^T g and s_k = <u_k, x>: dX = sum_k a_k u_k, dA_jk = sum of s_k over the positions of region j,
    dF~_j = sum_k a_jk s_k, dE_k = sum_p g_p (a_k x_p)^T.
    """
    count, groups, _, depth = experts.shape
    samples, regions_count, _ = coefficients.shape
    weights = _position_coefficients(coefficients, regions)
    products = torch.bmm(grad, experts.permute(1, 2, 0, 3).flatten(2)).view(groups, -1, count, depth).to(weights.dtype)
    grad_rows = torch.matmul(weights.unsqueeze(1), products).squeeze(2).to(rows.dtype)
    scores = torch.matmul(products, rows.unsqueeze(3).to(weights.dtype)).squeeze(3).sum(0)
    grad_experts = torch.bmm(grad.transpose(1, 2), _weighted(rows, weights))
    grad_experts = grad_experts.view(groups, -1, count, depth).permute(2, 0, 1, 3)
    per_sample = scores.view(samples, -1, count)
    index = regions.view(samples, -1, 1).expand(-1, -1, count)
    grad_coefficients = torch.zeros_like(coefficients).scatter_add_(1, index, per_sample)
    grad_guide = torch.matmul(per_sample, coefficients.transpose(1, 2)).view(-1, regions_count)
    return grad_rows, grad_experts, grad_coefficients, grad_guide
