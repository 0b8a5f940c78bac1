"""Pieces that every Triton kernel here is made of: where a tile lies, its regions, and the two matrix products.

Tiles are (positions, channels). Every load is masked, so channel counts of 1, 58 or 122 need no padding in memory, and
a masked element is selected to be 0, never multiplied by 0. Accumulation is float32.

Dense tensors come without strides: LAST says channels_last, otherwise contiguous. WIDE says that one sample, or one
filter, has 2^31 elements or more; offsets between samples and between filters are always 64 bits wide.
"""

# Triton writes compile-time constants in capitals, and has no types.
# ruff: noqa: N803
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped,import-not-found"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def strides(height, width, CHANNELS: tl.constexpr, LAST: tl.constexpr):
    """(channel, row, column) strides of one dense sample."""
    if LAST:
        return 1, width * CHANNELS, CHANNELS
    else:
        return height * width, width, 1


@triton.jit
def positions_of(tile, positions, BLOCK_P: tl.constexpr, WIDE: tl.constexpr):
    """The positions of a tile, and which of them exist."""
    p = tile * BLOCK_P + tl.arange(0, BLOCK_P)
    if WIDE:
        p = p.to(tl.int64)
    return p, p < positions


@triton.jit
def first_tap(
    p,
    out_width,
    SH: tl.constexpr,
    SW: tl.constexpr,
    PH: tl.constexpr,
    PW: tl.constexpr,
    FLAT: tl.constexpr,
):
    """Row and column of the pixel under the first tap of the filter; FLAT (1x1, stride 1): all in one long row."""
    if FLAT:
        return p * 0, p
    else:
        return (p // out_width) * SH - PH, (p % out_width) * SW - PW


@triton.jit
def load_logits(guide, p, valid, out_width, g_m, g_h, g_w, M: tl.constexpr, M_PAD: tl.constexpr):
    """(M_PAD, positions) float32 logits of one sample; -inf beyond the regions, 0 beyond the positions."""
    j = tl.arange(0, M_PAD)
    place = (p // out_width) * g_h + (p % out_width) * g_w
    mask = (j < M)[:, None] & valid[None, :]
    logits = tl.load(guide + (j * g_m)[:, None] + place[None, :], mask=mask, other=float("-inf")).to(tl.float32)
    return tl.where(valid[None, :], logits, 0.0)


@triton.jit
def winner(logits, valid, M: tl.constexpr, M_PAD: tl.constexpr):
    """The region of each position as torch.argmax has it: the first NaN, else the first of the largest; or -1."""
    j = tl.arange(0, M_PAD)[:, None]
    nan = logits != logits
    top = tl.max(tl.where(nan, float("-inf"), logits), 0)
    any_nan = tl.max(nan.to(tl.int32), 0) > 0
    hit = tl.where(any_nan[None, :], nan, logits == top[None, :])
    first = tl.min(tl.where(hit & (j < M), j, M_PAD), 0)
    return tl.where(valid, first, -1)


@triton.jit
def given_regions(guide, p, valid, out_width, g_h, g_w, M: tl.constexpr):
    """Integer regions clamped to 0..M-1; -1 where there is no position."""
    place = (p // out_width) * g_h + (p % out_width) * g_w
    region = tl.load(guide + place, mask=valid, other=0)
    region = tl.where(region < 0, 0, tl.where(region > M - 1, M - 1, region)).to(tl.int32)
    return tl.where(valid, region, -1)


@triton.jit
def regions_of(
    guide,
    p,
    valid,
    out_width,
    g_m,
    g_h,
    g_w,
    M: tl.constexpr,
    M_PAD: tl.constexpr,
    INTEGER: tl.constexpr,
):
    """The region of each position from logits or integers."""
    if INTEGER:
        return given_regions(guide, p, valid, out_width, g_h, g_w, M)
    else:
        return winner(load_logits(guide, p, valid, out_width, g_m, g_h, g_w, M, M_PAD), valid, M, M_PAD)


@triton.jit
def present(mask):
    """Whether any position of the tile is in the mask (decided on the device)."""
    return tl.max(mask.to(tl.int32), 0) > 0


@triton.jit
def guide_gradient(logits, scores, M: tl.constexpr, M_PAD: tl.constexpr):
    """dF from dF~ through the softmax that stands in for the one-hot mask; all (M_PAD, positions) float32."""
    live = (tl.arange(0, M_PAD) < M)[:, None]
    powers = tl.where(live, tl.exp(logits - tl.max(logits, 0)[None, :]), 0.0)
    soft = powers / tl.sum(powers, 0)[None, :]
    mean = tl.sum(tl.where(live, soft * scores, 0.0), 0)
    return soft * (scores - mean[None, :])


@triton.jit
def convolve(
    x,
    w,
    row,
    column,
    seen,
    o,
    height,
    width,
    CG: tl.constexpr,
    OG: tl.constexpr,
    GROUPS: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
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
    """(positions, outputs): the convolution with one filter, as an implicit GEMM over taps and channels.

    `x` points at the sample's and group's first channel, `w` at the filter's first output of the group, packed as
    (output, tap, channel) so that both tiles are read along channels. A row depends on its own position alone; rows not
    `seen` come out as 0 (or NaN where the filter holds one: select, do not add).
    """
    x_c, x_h, x_w = strides(height, width, CG * GROUPS, LAST)
    blocks: tl.constexpr = (CG + BLOCK_C - 1) // BLOCK_C
    acc = tl.zeros((BLOCK_P, BLOCK_O), tl.float32)
    for step in range(KH * KW * blocks):
        tap = 0
        c = step * BLOCK_C + tl.arange(0, BLOCK_C)
        if KH * KW > 1:
            tap = step // blocks
            c = (step % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
        if WIDE:
            c = c.to(tl.int64)
        h = row + (tap // KW) * DH
        v = column + (tap % KW) * DW
        inside = seen
        if not FLAT:
            inside = seen & (h >= 0) & (h < height) & (v >= 0) & (v < width)
        x_mask = inside[:, None] & (c < CG)[None, :]
        x_tile = tl.load(x + (h * x_h + v * x_w)[:, None] + (c * x_c)[None, :], mask=x_mask, other=0.0)
        w_mask = (c < CG)[:, None] & (o < OG)[None, :]
        w_tile = tl.load(w + (tap * CG + c)[:, None] + (o * (KH * KW * CG))[None, :], mask=w_mask, other=0.0)
        acc = tl.dot(x_tile, w_tile, acc, input_precision=PRECISION)
    return acc


@triton.jit
def project_back(
    grad,
    w,
    place,
    seen,
    c,
    g_c,
    CG: tl.constexpr,
    OG: tl.constexpr,
    TAPS: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """(positions, channels) of W^T g for one tap, to which `w` (packed) points; `grad` at the group's first output.

    `place` is the offset of each position in `grad`, g_c its channel stride.
    """
    acc = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for start in range(0, OG, BLOCK_O):
        o = start + tl.arange(0, BLOCK_O)
        if WIDE:
            o = o.to(tl.int64)
        g_mask = seen[:, None] & (o < OG)[None, :]
        g_tile = tl.load(grad + place[:, None] + (o * g_c)[None, :], mask=g_mask, other=0.0)
        w_mask = (o < OG)[:, None] & (c < CG)[None, :]
        w_tile = tl.load(w + (o * (TAPS * CG))[:, None] + c[None, :], mask=w_mask, other=0.0)
        acc = tl.dot(g_tile, w_tile, acc, input_precision=PRECISION)
    return acc
