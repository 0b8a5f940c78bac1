"""dx of filters larger than 1x1: every input position gathers from the output positions whose filters reached it.

The transposed convolution in its gathering form: no two programs write one pixel, so no atomics and equal runs.
"""

# Triton writes compile-time constants in capitals, and has no types.
# ruff: noqa: N803
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped,import-not-found"

from __future__ import annotations

import triton
import triton.language as tl

from drbench_kernels.gpu.tiles import positions_of, present, project_back, strides


@triton.jit
def gather_kernel(
    grad_input,
    grad,
    w,
    regions,
    coefficients,
    height,
    width,
    out_height,
    out_width,
    M: tl.constexpr,
    SHARED: tl.constexpr,
    EXPERTS: tl.constexpr,
    COUNT: tl.constexpr,
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
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """grad_input (N, C, H, W) from grad (N, O, H', W'), regions (N, P) int32 and filters, or experts and coefficients.

    For each tap, a tile of input positions meets one output position each; the product with a region's filter is added
    to the rows of that region alone, selected, so that a NaN in another region's filter stays there.
    """
    pixels = height * width
    positions = out_height * out_width
    c_tiles: tl.constexpr = (CG + BLOCK_C - 1) // BLOCK_C
    pid = tl.program_id(0)
    c = (pid % c_tiles) * BLOCK_C + tl.arange(0, BLOCK_C)
    if WIDE:
        c = c.to(tl.int64)
    group = (pid // c_tiles) % GROUPS
    rest = pid // (c_tiles * GROUPS)
    q_tiles = tl.cdiv(pixels, BLOCK_P)
    n = (rest // q_tiles).to(tl.int64)
    q, valid = positions_of(rest % q_tiles, pixels, BLOCK_P, WIDE)
    row = q // width + PH
    column = q % width + PW
    y_c, _, y_p = strides(out_height, out_width, OG * GROUPS, GRAD_LAST)
    grad += (n * (OG * GROUPS)) * positions + (group * OG).to(tl.int64) * y_c
    w += n * (0 if SHARED else COUNT) * (OG * GROUPS * CG * KH * KW) + group * (OG * CG * KH * KW)
    acc = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for tap in range(KH * KW):
        a = row - (tap // KW) * DH
        b = column - (tap % KW) * DW
        out_row = a // SH
        out_column = b // SW
        hit = valid & (a >= 0) & (b >= 0) & (out_row < out_height) & (out_column < out_width)
        hit = hit & (out_row * SH == a) & (out_column * SW == b)
        p = out_row * out_width + out_column
        region = tl.load(regions + n * positions + p, mask=hit, other=-1)
        for j in range(COUNT):
            mine = hit
            if not EXPERTS:
                mine = region == j
            if present(mine):
                w_j = w + tl.cast(j, tl.int64) * (OG * GROUPS * CG * KH * KW) + tap * CG
                product = project_back(
                    grad, w_j, p * y_p, mine, c, y_c, CG, OG, KH * KW, WIDE, BLOCK_P, BLOCK_O, BLOCK_C, PRECISION
                )
                if EXPERTS:
                    own = coefficients + (n * M + region) * COUNT + j
                    product *= tl.load(own, mask=mine, other=0.0).to(tl.float32)[:, None]
                acc += tl.where(mine[:, None], product, 0.0)
    x_c, _, x_w = strides(height, width, CG * GROUPS, LAST)
    grad_input += (n * (CG * GROUPS) * height) * width + (group * CG).to(tl.int64) * x_c
    place = (q * x_w)[:, None] + (c * x_c)[None, :]
    mask = valid[:, None] & (c < CG)[None, :]
    tl.store(grad_input + place, acc.to(grad_input.dtype.element_ty), mask=mask)
