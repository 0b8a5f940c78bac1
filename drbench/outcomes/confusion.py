"""Semantic segmentation: figures from how many pixels of a class were given which class, image by image. numpy only.

Of each image only the cells of its confusion matrix that are not 0 are kept. Pixels without a class do not count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

IMAGE = np.dtype([("cells", "<u4")])
"""An image: how many rows of CELL are its."""

CELL = np.dtype([("truth", "<u2"), ("answer", "<u2"), ("pixels", "<u4")])
"""Pixels of the image that have one class and were given one class."""

Cells = NDArray[np.void]


def cells_of(truth: ArrayLike, answer: ArrayLike, classes: int, ignored: int) -> Cells:
    """The cells of one image, from its true and its given class of each pixel; pixels of class
    `ignored` do not count.

    An answer that is not a class (for example because of a NaN) is wrong: it is counted in a column of its own.
    """
    true, given = np.asarray(truth, np.int64).ravel(), np.asarray(answer, np.int64).ravel()
    here = true != ignored
    true, given = true[here], np.where((given[here] < 0) | (given[here] >= classes), classes, given[here])
    counted = np.bincount(true * (classes + 1) + given, minlength=classes * (classes + 1))
    places = np.flatnonzero(counted)
    rows = np.zeros(len(places), CELL)
    rows["truth"], rows["answer"], rows["pixels"] = places // (classes + 1), places % (classes + 1), counted[places]
    return rows


def matrix(
    images: NDArray[np.void], cells: Cells, classes: int, weights: ArrayLike | None = None
) -> NDArray[np.float64]:
    """(classes, classes + 1) pixels by true and given class; the last column holds answers that are no class.

    weights: (images,), how often each image was drawn in a resampling; None: once.
    """
    counts = images["cells"].astype(np.int64)
    drawn = np.ones(len(counts)) if weights is None else np.asarray(weights, np.float64)
    found = np.zeros((classes, classes + 1))
    np.add.at(found, (cells["truth"], cells["answer"]), cells["pixels"] * np.repeat(drawn, counts))
    return found


def intersection_over_union(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """(classes,): shared pixels over all pixels that have the class or were given it; NaN where there are none."""
    shared = np.diag(found)
    whole = found.sum(1) + found[:, : len(found)].sum(0) - shared
    shares: NDArray[np.float64] = np.divide(shared, whole, out=np.full(len(found), np.nan), where=whole > 0)
    return shares


def mean_iou(found: NDArray[np.float64]) -> float:
    """The mean over the classes that occur in truth or answer; NaN if none does."""
    values = intersection_over_union(found)
    here = ~np.isnan(values)
    return float(values[here].mean()) if here.any() else float("nan")


def pixel_accuracy(found: NDArray[np.float64]) -> float:
    """The share of pixels that were given their class; NaN without pixels."""
    total = found.sum()
    return float(np.diag(found).sum() / total) if total else float("nan")
