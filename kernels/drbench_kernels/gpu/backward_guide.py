"""Backward kernels of what a tile of output positions can finish by itself: the guide's gradient and more.

Both find dF~ for a tile of positions, put it through the softmax, and write down the regions for the kernels that
follow. By region (design A) there is one score a region, <W_j x, g>, and dF~ is the scores. By expert (design B) there
is one score s_k an expert; dF~_j = sum_k a_jk s_k, and the coefficients' gradient, sum of s_k over the positions of
region j, is written as a partial sum of the tile. Nothing is added to memory that another program writes: runs are
bitwise equal.

`pointwise_backward_kernel` (1x1) finds W_j^T g, of which both the score and dx are made. For larger filters dx gathers
from several output positions and is `gather.py`'s.
"""

# Triton writes compile-time constants in capitals, and has no types.
# ruff: noqa: N803
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped,import-not-found"

from __future__ import annotations

import triton
import triton.language as tl

from drbench_kernels.gpu.tiles import (
    convolve,
    first_tap,
    given_regions,
    guide_gradient,
    load_logits,
    positions_of,
    present,
    project_back,
    strides,
    winner,
)


@triton.jit
def finish_scores(
    grad_guide,
    partial,
    coefficients,
    logits,
    scores,
    region,
    n,
    tile,
    p_tiles,
    p,
    valid,
    positions,
    M: tl.constexpr,
    M_PAD: tl.constexpr,
    COUNT: tl.constexpr,
    COUNT_PAD: tl.constexpr,
    EXPERTS: tl.constexpr,
    LEARNS: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """From scores (COUNT_PAD, positions): the guide's gradient, and by expert the tile's part (M, K) of dA."""
    j = tl.arange(0, M_PAD)
    slot = tl.arange(0, COUNT_PAD)
    if EXPERTS:
        part = partial + (n * p_tiles + tile) * (M * COUNT)
        for i in range(M):
            total = tl.sum(tl.where(region[None, :] == i, scores, 0.0), 1)
            tl.store(part + i * COUNT + slot, total, mask=slot < COUNT)
    if LEARNS:
        guide_scores = scores
        if EXPERTS:
            guide_scores = tl.zeros((M_PAD, BLOCK_P), tl.float32)
            for k in range(COUNT):
                own = tl.load(coefficients + (n * M + j) * COUNT + k, mask=j < M, other=0.0).to(tl.float32)
                score = tl.sum(tl.where(slot[:, None] == k, scores, 0.0), 0)
                guide_scores += own[:, None] * score[None, :]
        gradient = guide_gradient(logits, guide_scores, M, M_PAD).to(grad_guide.dtype.element_ty)
        place = grad_guide + (n * M) * positions + (j.to(tl.int64) * positions)[:, None] + p[None, :]
        tl.store(place, gradient, mask=(j < M)[:, None] & valid[None, :])


@triton.jit
def pointwise_backward_kernel(
    grad_input,
    grad_guide,
    regions,
    partial,
    grad,
    x,
    w,
    coefficients,
    guide,
    g_n,
    g_m,
    g_h,
    g_w,
    height,
    width,
    out_height,
    out_width,
    M: tl.constexpr,
    M_PAD: tl.constexpr,
    INTEGER: tl.constexpr,
    SHARED: tl.constexpr,
    EXPERTS: tl.constexpr,
    COUNT: tl.constexpr,
    COUNT_PAD: tl.constexpr,
    LEARNS: tl.constexpr,
    CG: tl.constexpr,
    OG: tl.constexpr,
    GROUPS: tl.constexpr,
    SH: tl.constexpr,
    SW: tl.constexpr,
    LAST: tl.constexpr,
    GRAD_LAST: tl.constexpr,
    FLAT: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """1x1, any stride, no padding: dx, regions (N, P) int32, dF, and by expert partial (N, tiles, M, K) float32.

    COUNT is M by region, K by expert. A row of a product is selected, or weighed, for its own position alone, so that a
    NaN at one position, or in another region's filter, reaches no other position's dx.
    """
    positions = out_height * out_width
    p_tiles = tl.cdiv(positions, BLOCK_P)
    pid = tl.program_id(0)
    n = (pid // p_tiles).to(tl.int64)
    tile = pid % p_tiles
    p, valid = positions_of(tile, positions, BLOCK_P, WIDE)
    logits = tl.zeros((M_PAD, BLOCK_P), tl.float32)
    if INTEGER:
        region = given_regions(guide + n * g_n, p, valid, out_width, g_h, g_w, M)
    else:
        logits = load_logits(guide + n * g_n, p, valid, out_width, g_m, g_h, g_w, M, M_PAD)
        region = winner(logits, valid, M, M_PAD)
    tl.store(regions + n * positions + p, region, mask=valid)
    row, column = first_tap(p, out_width, SH, SW, 0, 0, FLAT)
    x_c, x_h, x_w = strides(height, width, CG * GROUPS, LAST)
    pixel = row * x_h + column * x_w
    y_c, _, y_p = strides(out_height, out_width, OG * GROUPS, GRAD_LAST)
    x += (n * (CG * GROUPS) * height) * width
    grad_input += (n * (CG * GROUPS) * height) * width
    grad += (n * (OG * GROUPS)) * positions
    w += n * (0 if SHARED else COUNT) * (OG * GROUPS * CG)
    own = coefficients
    if EXPERTS:
        own = coefficients + (n * M + region) * COUNT
    slot = tl.arange(0, COUNT_PAD)[:, None]
    scores = tl.zeros((COUNT_PAD, BLOCK_P), tl.float32)
    for group in range(GROUPS):
        grad_g = grad + tl.cast(group, tl.int64) * OG * y_c
        for start in range(0, CG, BLOCK_C):
            c = start + tl.arange(0, BLOCK_C)
            if WIDE:
                c = c.to(tl.int64)
            place = pixel[:, None] + ((group * CG + c) * x_c)[None, :]
            inside = (c < CG)[None, :]
            w_g = w + tl.cast(group, tl.int64) * (OG * CG)
            if EXPERTS or LEARNS:
                x_tile = tl.load(x + place, mask=valid[:, None] & inside, other=0.0).to(tl.float32)
                acc = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
                for j in range(COUNT):
                    product = project_back(
                        grad_g, w_g + tl.cast(j, tl.int64) * (OG * GROUPS * CG), p * y_p, valid, c, y_c,
                        CG, OG, 1, WIDE, BLOCK_P, BLOCK_O, BLOCK_C, PRECISION,
                    )  # fmt: skip
                    score = tl.sum(product * x_tile, 1)
                    scores = tl.where(slot == j, scores + score[None, :], scores)
                    if EXPERTS:
                        weight = tl.load(own + j, mask=valid, other=0.0).to(tl.float32)
                        acc += weight[:, None] * product
                    else:
                        acc = tl.where((region == j)[:, None], product, acc)
                tl.store(grad_input + place, acc.to(grad_input.dtype.element_ty), mask=valid[:, None] & inside)
            else:
                for j in range(COUNT):
                    mine = region == j
                    if present(mine):
                        product = project_back(
                            grad_g, w_g + tl.cast(j, tl.int64) * (OG * GROUPS * CG), p * y_p, mine, c, y_c,
                            CG, OG, 1, WIDE, BLOCK_P, BLOCK_O, BLOCK_C, PRECISION,
                        )  # fmt: skip
                        product = product.to(grad_input.dtype.element_ty)
                        tl.store(grad_input + place, product, mask=mine[:, None] & inside)
    finish_scores(
        grad_guide, partial, coefficients, logits, scores, region, n, tile, p_tiles, p, valid, positions,
        M, M_PAD, COUNT, COUNT_PAD, EXPERTS, LEARNS, BLOCK_P,
    )  # fmt: skip


@triton.jit
def score_kernel(
    grad_guide,
    regions,
    partial,
    grad,
    x,
    w,
    coefficients,
    guide,
    g_n,
    g_m,
    g_h,
    g_w,
    height,
    width,
    out_height,
    out_width,
    M: tl.constexpr,
    M_PAD: tl.constexpr,
    INTEGER: tl.constexpr,
    SHARED: tl.constexpr,
    EXPERTS: tl.constexpr,
    COUNT: tl.constexpr,
    COUNT_PAD: tl.constexpr,
    LEARNS: tl.constexpr,
    CG: tl.constexpr,
    OG: tl.constexpr,
    GROUPS: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
    SH: tl.constexpr,
    SW: tl.constexpr,
    PH: tl.constexpr,
    PW: tl.constexpr,
    DH: tl.constexpr,
    DW: tl.constexpr,
    LAST: tl.constexpr,
    GRAD_LAST: tl.constexpr,
    FLAT: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Any filter size: regions (N, P) int32, and where they are asked for dF and the partial dA; dx is elsewhere."""
    positions = out_height * out_width
    p_tiles = tl.cdiv(positions, BLOCK_P)
    pid = tl.program_id(0)
    n = (pid // p_tiles).to(tl.int64)
    tile = pid % p_tiles
    p, valid = positions_of(tile, positions, BLOCK_P, WIDE)
    logits = tl.zeros((M_PAD, BLOCK_P), tl.float32)
    if INTEGER:
        region = given_regions(guide + n * g_n, p, valid, out_width, g_h, g_w, M)
    else:
        logits = load_logits(guide + n * g_n, p, valid, out_width, g_m, g_h, g_w, M, M_PAD)
        region = winner(logits, valid, M, M_PAD)
    tl.store(regions + n * positions + p, region, mask=valid)
    if EXPERTS or LEARNS:
        row, column = first_tap(p, out_width, SH, SW, PH, PW, FLAT)
        x_c, _, _ = strides(height, width, CG * GROUPS, LAST)
        y_c, _, y_p = strides(out_height, out_width, OG * GROUPS, GRAD_LAST)
        x += (n * (CG * GROUPS) * height) * width
        grad += (n * (OG * GROUPS)) * positions
        w += n * (0 if SHARED else COUNT) * (OG * GROUPS * CG * KH * KW)
        slot = tl.arange(0, COUNT_PAD)[:, None]
        scores = tl.zeros((COUNT_PAD, BLOCK_P), tl.float32)
        for group in range(GROUPS):
            x_g = x + tl.cast(group, tl.int64) * CG * x_c
            w_g = w + tl.cast(group, tl.int64) * (OG * CG * KH * KW)
            for start in range(0, OG, BLOCK_O):
                o = start + tl.arange(0, BLOCK_O)
                if WIDE:
                    o = o.to(tl.int64)
                g_mask = valid[:, None] & (o < OG)[None, :]
                place = (p * y_p)[:, None] + ((group * OG + o) * y_c)[None, :]
                g_tile = tl.load(grad + place, mask=g_mask, other=0.0).to(tl.float32)
                for j in range(COUNT):
                    w_j = w_g + tl.cast(j, tl.int64) * (OG * GROUPS * CG * KH * KW)
                    result = convolve(
                        x_g, w_j, row, column, valid, o, height, width, CG, OG, GROUPS, KH, KW, DH, DW, LAST,
                        FLAT, WIDE, BLOCK_P, BLOCK_O, BLOCK_C, PRECISION,
                    )  # fmt: skip
                    score = tl.sum(result * g_tile, 1)
                    scores = tl.where(slot == j, scores + score[None, :], scores)
        finish_scores(
            grad_guide, partial, coefficients, logits, scores, region, n, tile, p_tiles, p, valid, positions,
            M, M_PAD, COUNT, COUNT_PAD, EXPERTS, LEARNS, BLOCK_P,
        )  # fmt: skip
