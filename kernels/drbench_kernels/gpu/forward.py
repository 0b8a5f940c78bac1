"""Forward kernels: one program per tile of positions and outputs; the guide's argmax and the bias are inside.

By region (design A), each region present in the tile is one small GEMM whose rows are loaded, and stored, for that
region's positions only: a position is read once and written once, and neither a NaN in another position's pixels nor
one in another region's filter can reach it.

By expert (design B), every position meets every expert, and its region's coefficients weigh the results in float32: the
filters are never built.
"""

# Triton writes compile-time constants in capitals, and has no types.
# ruff: noqa: N803
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped,import-not-found"

from __future__ import annotations

import triton
import triton.language as tl

from drbench_kernels.gpu.tiles import convolve, first_tap, positions_of, present, regions_of, strides


@triton.jit
def region_forward_kernel(
    y,
    x,
    w,
    guide,
    bias,
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
    FLAT: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """y (N, O, H', W') from x (N, C, H, W), w (N or 1, M, O, CG, KH, KW), logits or regions, and bias (O) or None."""
    positions = out_height * out_width
    o_tiles: tl.constexpr = (OG + BLOCK_O - 1) // BLOCK_O
    pid = tl.program_id(0)
    o_tile = pid % o_tiles
    group = (pid // o_tiles) % GROUPS
    tile = pid // (o_tiles * GROUPS)
    p_tiles = tl.cdiv(positions, BLOCK_P)
    n = (tile // p_tiles).to(tl.int64)
    p, valid = positions_of(tile % p_tiles, positions, BLOCK_P, WIDE)
    region = regions_of(guide + n * g_n, p, valid, out_width, g_m, g_h, g_w, M, M_PAD, INTEGER)
    row, column = first_tap(p, out_width, SH, SW, PH, PW, FLAT)
    o = o_tile * BLOCK_O + tl.arange(0, BLOCK_O)
    if WIDE:
        o = o.to(tl.int64)
    x_c, _, _ = strides(height, width, CG * GROUPS, LAST)
    x += (n * (CG * GROUPS) * height) * width + (group * CG).to(tl.int64) * x_c
    w += n * (0 if SHARED else M) * (OG * GROUPS * CG * KH * KW) + group * (OG * CG * KH * KW)
    y_c, _, y_p = strides(out_height, out_width, OG * GROUPS, LAST)
    y += (n * (OG * GROUPS)) * positions + (group * OG).to(tl.int64) * y_c
    shift = tl.zeros((BLOCK_O,), tl.float32)
    if bias is not None:
        shift = tl.load(bias + group * OG + o, mask=o < OG, other=0.0).to(tl.float32)
    for j in range(M):
        mine = region == j
        if present(mine):
            w_j = w + tl.cast(j, tl.int64) * (OG * GROUPS * CG * KH * KW)
            result = convolve(
                x, w_j, row, column, mine, o, height, width, CG, OG, GROUPS, KH, KW, DH, DW, LAST, FLAT, WIDE,
                BLOCK_P, BLOCK_O, BLOCK_C, PRECISION,
            )  # fmt: skip
            result = (result + shift[None, :]).to(y.dtype.element_ty)
            tl.store(y + (p * y_p)[:, None] + (o * y_c)[None, :], result, mask=mine[:, None] & (o < OG)[None, :])


@triton.jit
def expert_forward_kernel(
    y,
    x,
    w,
    coefficients,
    guide,
    bias,
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
    K: tl.constexpr,
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
    FLAT: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """As above, from experts w (K, O, CG, KH, KW) and coefficients (N, M, K)."""
    positions = out_height * out_width
    o_tiles: tl.constexpr = (OG + BLOCK_O - 1) // BLOCK_O
    pid = tl.program_id(0)
    o_tile = pid % o_tiles
    group = (pid // o_tiles) % GROUPS
    tile = pid // (o_tiles * GROUPS)
    p_tiles = tl.cdiv(positions, BLOCK_P)
    n = (tile // p_tiles).to(tl.int64)
    p, valid = positions_of(tile % p_tiles, positions, BLOCK_P, WIDE)
    region = regions_of(guide + n * g_n, p, valid, out_width, g_m, g_h, g_w, M, M_PAD, INTEGER)
    row, column = first_tap(p, out_width, SH, SW, PH, PW, FLAT)
    o = o_tile * BLOCK_O + tl.arange(0, BLOCK_O)
    if WIDE:
        o = o.to(tl.int64)
    x_c, _, _ = strides(height, width, CG * GROUPS, LAST)
    x += (n * (CG * GROUPS) * height) * width + (group * CG).to(tl.int64) * x_c
    w += group.to(tl.int64) * (OG * CG * KH * KW)
    own = coefficients + (n * M + region) * K
    acc = tl.zeros((BLOCK_P, BLOCK_O), tl.float32)
    for k in range(K):
        weight = tl.load(own + k, mask=valid, other=0.0).to(tl.float32)
        result = convolve(
            x, w + tl.cast(k, tl.int64) * (OG * GROUPS * CG * KH * KW), row, column, valid, o, height, width, CG, OG,
            GROUPS, KH, KW, DH, DW, LAST, FLAT, WIDE, BLOCK_P, BLOCK_O, BLOCK_C, PRECISION,
        )  # fmt: skip
        acc += weight[:, None] * result
    if bias is not None:
        acc += tl.load(bias + group * OG + o, mask=o < OG, other=0.0).to(tl.float32)[None, :]
    y_c, _, y_p = strides(out_height, out_width, OG * GROUPS, LAST)
    y += (n * (OG * GROUPS)) * positions + (group * OG).to(tl.int64) * y_c
    mask = valid[:, None] & (o < OG)[None, :]
    tl.store(y + (p * y_p)[:, None] + (o * y_c)[None, :], acc.to(y.dtype.element_ty), mask=mask)


@triton.jit
def mix_kernel(
    filters,
    experts,
    coefficients,
    rows,
    K: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """filters (rows, SIZE) = coefficients (rows, K) @ experts (K, SIZE), in float32 whatever the dtypes."""
    d_tiles: tl.constexpr = (SIZE + BLOCK_C - 1) // BLOCK_C
    pid = tl.program_id(0)
    r = (pid // d_tiles) * BLOCK_P + tl.arange(0, BLOCK_P)
    d = (pid % d_tiles) * BLOCK_C + tl.arange(0, BLOCK_C)
    acc = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for k in range(K):
        weight = tl.load(coefficients + r * K + k, mask=r < rows, other=0.0).to(tl.float32)
        expert = tl.load(experts + tl.cast(k, tl.int64) * SIZE + d, mask=d < SIZE, other=0.0).to(tl.float32)
        acc += weight[:, None] * expert[None, :]
    mask = (r < rows)[:, None] & (d < SIZE)[None, :]
    place = r.to(tl.int64)[:, None] * SIZE + d[None, :]
    tl.store(filters + place, acc.to(filters.dtype.element_ty), mask=mask)
