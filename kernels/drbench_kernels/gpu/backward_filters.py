"""dW: for each region, or expert, one GEMM over the positions, in blocks of outputs and of channels of one tap.

Positions of other regions are not loaded but selected to 0, in both factors: nothing of theirs, not even a NaN, gets
into the sum over positions. A long sum (a batch that shares its filters, a large image) is cut into `splits`, each
written apart and added up afterwards in a fixed order.
"""

# Triton writes compile-time constants in capitals, and has no types.
# ruff: noqa: N803
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped,import-not-found"

from __future__ import annotations

import triton
import triton.language as tl

from drbench_kernels.gpu.tiles import first_tap, present, strides


@triton.jit
def filter_gradient_kernel(
    grad_filters,
    grad,
    x,
    regions,
    coefficients,
    samples,
    split_tiles,
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
    FLAT: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """grad_filters (splits, N, COUNT, O, CG, KH, KW), N being 1 where SHARED; a split is `split_tiles` tiles of rows.

    A row is a position: of one sample, or of the whole batch where SHARED. By region its factors are selected, by
    expert (always SHARED) its gradient is weighed with the coefficient, rounded once to the dtype of the product.
    """
    positions = out_height * out_width
    rows = positions
    owners = samples
    if SHARED:
        rows = samples * positions
        owners = 1
    c_tiles: tl.constexpr = (CG + BLOCK_C - 1) // BLOCK_C
    o_tiles: tl.constexpr = (OG + BLOCK_O - 1) // BLOCK_O
    pid = tl.program_id(0)
    c = (pid % c_tiles) * BLOCK_C + tl.arange(0, BLOCK_C)
    pid = pid // c_tiles
    tap = pid % (KH * KW)
    pid = pid // (KH * KW)
    o = (pid % o_tiles) * BLOCK_O + tl.arange(0, BLOCK_O)
    pid = pid // o_tiles
    group = pid % GROUPS
    pid = pid // GROUPS
    j = pid % COUNT
    pid = pid // COUNT
    owner = (pid % owners).to(tl.int64)
    split = pid // owners
    if WIDE:
        c = c.to(tl.int64)
        o = o.to(tl.int64)
    x_c, x_h, x_w = strides(height, width, CG * GROUPS, LAST)
    y_c, _, y_p = strides(out_height, out_width, OG * GROUPS, GRAD_LAST)
    x_n = tl.cast(CG * GROUPS, tl.int64) * height * width
    y_n = tl.cast(OG * GROUPS, tl.int64) * positions
    x += owner * x_n + (group * CG).to(tl.int64) * x_c
    grad += owner * y_n + (group * OG).to(tl.int64) * y_c
    regions += owner * positions
    acc = tl.zeros((BLOCK_O, BLOCK_C), tl.float32)
    for tile in range(split * split_tiles, (split + 1) * split_tiles):
        r = tl.cast(tile, tl.int64) * BLOCK_P + tl.arange(0, BLOCK_P)
        valid = r < rows
        region = tl.load(regions + r, mask=valid, other=-1)
        mine = valid
        if not EXPERTS:
            mine = region == j
        if present(mine):
            if SHARED:
                n = r // positions
                p = r % positions
            else:
                n = r * 0
                p = r
                if not WIDE:
                    p = r.to(tl.int32)
            row, column = first_tap(p, out_width, SH, SW, PH, PW, FLAT)
            h = row + (tap // KW) * DH
            v = column + (tap % KW) * DW
            if not FLAT:
                # Both factors: a tap outside the image adds nothing, not even 0 * NaN.
                mine = mine & (h >= 0) & (h < height) & (v >= 0) & (v < width)
            pixel = h * x_h + v * x_w
            place = p * y_p
            if SHARED:
                pixel += n * x_n
                place += n * y_n
            g_mask = mine[:, None] & (o < OG)[None, :]
            g_tile = tl.load(grad + place[:, None] + (o * y_c)[None, :], mask=g_mask, other=0.0)
            x_mask = mine[:, None] & (c < CG)[None, :]
            x_tile = tl.load(x + pixel[:, None] + (c * x_c)[None, :], mask=x_mask, other=0.0)
            if EXPERTS:
                own = coefficients + (n * M + region) * COUNT + j
                weight = tl.load(own, mask=mine, other=0.0).to(tl.float32)
                g_tile = (g_tile.to(tl.float32) * weight[:, None]).to(x.dtype.element_ty)
            acc = tl.dot(tl.trans(g_tile), x_tile, acc, input_precision=PRECISION)
    out = grad_filters + ((split * owners + owner) * COUNT + j) * (OG * GROUPS * CG * KH * KW)
    place = ((group * OG + o) * (CG * KH * KW))[:, None] + (c * (KH * KW) + tap)[None, :]
    mask = (o < OG)[:, None] & (c < CG)[None, :]
    tl.store(out + place, acc.to(grad_filters.dtype.element_ty), mask=mask)
