"""Verification of pairs, and identification of probes: figures from similarities. numpy only.

The protocol of LFW: the threshold of a fold is the best one on the other folds; the accuracy is the mean over the
folds, and its standard error is that of this mean. Huang et al., "Labeled Faces in the Wild", 2007.

A similarity of NaN is a wrong answer, whatever the truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

PAIR = np.dtype([("similarity", "<f4"), ("same", "u1"), ("fold", "u1"), ("first", "<u4"), ("second", "<u4")])
"""A pair of images: how similar the network finds them, whether they show one person, the fold, the two people."""

PROBE = np.dtype([("rank", "u1"), ("person", "<u4")])
"""A probe: how many distractors are at least as similar to it as its mate is (255: 255 and more), and its person."""

LEAST_FALSE = 10
"""False accepts that a rate of false accepts must allow: with fewer, the rate hangs on single pairs."""

Pairs = NDArray[np.void]
Probes = NDArray[np.void]


@dataclass(frozen=True)
class Accuracy:
    """Mean over folds of the share of right pairs, its standard error, and the number of folds."""

    value: float
    standard_error: float
    folds: int


def table(similarity: ArrayLike, same: ArrayLike, fold: ArrayLike, first: ArrayLike, second: ArrayLike) -> Pairs:
    """The pairs as one array of PAIR. Every argument is (pairs,)."""
    rows = np.zeros(len(np.asarray(similarity)), PAIR)
    for name, values in zip(PAIR.names or (), (similarity, same, fold, first, second), strict=True):
        rows[name] = values
    return rows


def probe_table(rank: ArrayLike, person: ArrayLike) -> Probes:
    """The probes as one array of PROBE; ranks above 255 become 255."""
    ranks = np.minimum(np.asarray(rank), 255)
    rows = np.zeros(len(ranks), PROBE)
    rows["rank"], rows["person"] = ranks, person
    return rows


def threshold(similarity: ArrayLike, same: ArrayLike) -> float:
    """The similarity above which pairs are called the same, so that most of these pairs are right.

    It lies halfway between two neighbouring similarities, or beyond them all; of several best ones it is the lowest.
    """
    values, is_same = np.asarray(similarity, np.float64), np.asarray(same, bool)
    usable = ~np.isnan(values)
    levels, place = np.unique(values[usable], return_inverse=True)
    if not len(levels):
        return 0.0
    here = is_same[usable]
    same_at = np.bincount(place[here], minlength=len(levels))
    different_at = np.bincount(place[~here], minlength=len(levels))
    # right with the cut below level k: the same from k on, and the different before k
    right = np.concatenate(([0], np.cumsum(different_at))) + same_at.sum() - np.concatenate(([0], np.cumsum(same_at)))
    cut = int(right.argmax())
    if cut == 0:
        return float(np.nextafter(levels[0], -np.inf))
    return float(levels[-1]) if cut == len(levels) else float(levels[cut - 1] + levels[cut]) / 2


def right(pairs: Pairs) -> NDArray[np.bool_]:
    """Which pairs were answered right, (pairs,), each with the threshold of the other folds."""
    found = np.zeros(len(pairs), bool)
    similarity, same = pairs["similarity"].astype(np.float64), pairs["same"].astype(bool)
    folds = np.unique(pairs["fold"])
    for fold in folds:
        here = pairs["fold"] == fold
        others = ~here if len(folds) > 1 else here
        called = similarity > threshold(similarity[others], same[others])
        found[here] = (called == same)[here] & ~np.isnan(similarity[here])
    return found


def accuracy(pairs: Pairs) -> Accuracy:
    """The accuracy of LFW's protocol. NaN without pairs; the standard error is NaN with one fold."""
    answers, fold = right(pairs), pairs["fold"]
    shares = np.array([answers[fold == one].mean() for one in np.unique(fold)])
    if not len(shares):
        return Accuracy(float("nan"), float("nan"), 0)
    error = float(shares.std(ddof=1) / np.sqrt(len(shares))) if len(shares) > 1 else float("nan")
    return Accuracy(float(shares.mean()), error, len(shares))


def false_accept_rate(pairs: Pairs) -> float:
    """The rate at which `true_accept_rate` is reported: the lowest power of ten that allows LEAST_FALSE false accepts.

    >>> false_accept_rate(table([0.0] * 3000, [0] * 3000, [0] * 3000, [0] * 3000, [1] * 3000))
    0.01
    """
    different = int((pairs["same"] == 0).sum())
    rate = 1.0
    while rate / 10 * different >= LEAST_FALSE * (1 - 1e-9):
        rate /= 10
    return round(rate, 12)


def true_accept_rate(pairs: Pairs, rate: float) -> float:
    """The largest share of same pairs above a threshold that at most a share `rate` of the different pairs exceeds.

    NaN without pairs of both kinds.
    """
    is_same = pairs["same"].astype(bool)
    values = pairs["similarity"].astype(np.float64)
    same = np.where(np.isnan(values[is_same]), -np.inf, values[is_same])
    different = np.sort(np.where(np.isnan(values[~is_same]), np.inf, values[~is_same]))[::-1]
    if not len(same) or not len(different):
        return float("nan")
    allowed = int(np.floor(rate * len(different) + 1e-9))
    cut = different[allowed] if allowed < len(different) else -np.inf
    return float((same > cut).mean())


def rank1(probes: Probes) -> float:
    """The share of probes to which no distractor is as similar as their mate. NaN without probes."""
    return float((probes["rank"] == 0).mean()) if len(probes) else float("nan")
