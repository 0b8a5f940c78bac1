"""What is checked and said about a data set once, before the first training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import Subset

from drbench.data.batches import Part, lost_loaders, raw_batches
from drbench.data.decode import check_header
from drbench.data.imagefolder import Folder
from drbench.data.labels import check_labels, listed
from drbench.data.masks import Masks
from drbench.data.splits import Images, Splits
from drbench.data.verification import protocol_of
from drbench.data.waiting import Waiting
from drbench.errors import InputError

HEADERS = 20_000
"""Image files of a part, evenly spread, whose first bytes are read: a few seconds."""
RANGE_ITEMS = 32
"""Images whose values are looked at where they are not all in memory."""


def check_data(splits: Splits, say: Callable[[str], None], workers: int = 0) -> None:
    """Check all labels and, of an image folder, the headers of its files; then `say` the summary.

    InputError for a single class, DataError for the first item that a training would fail on. `workers` processes load
    items where that is needed.
    """
    if len(splits.classes) < 2:
        raise InputError(
            f"data set {splits.name!r} has one class, {splits.classes[0]!r}; expected two or more. With one, every "
            "network is right on every image"
        )
    for dataset in (splits.train, splits.val, splits.test):
        _check_headers(dataset, say)
    with lost_loaders(splits.name):
        check_labels(splits, say, workers)
        say(summary(splits))


def summary(splits: Splits) -> str:
    """One line: classes, images of each part, the range of values, and classes that have no training image."""
    held = f"{len(splits.val)} validation, " if splits.val is not None else ""  # type: ignore[arg-type]
    counts = f"{len(splits.train)} train, {held}{len(splits.test)} test images"  # type: ignore[arg-type]
    asked = protocol_of(splits.test)
    noun, more = ("classes", "") if asked is None else ("people", f"; test: {asked}")
    text = f"data {splits.name}: {len(splits.classes)} {noun}, {counts}{more}; {_values(splits)}"
    labels = listed(splits.train)
    if labels is None:
        return text
    absent = np.flatnonzero(np.bincount(labels, minlength=len(splits.classes)) == 0)
    if not len(absent):
        return text
    names = ", ".join(repr(splits.classes[index]) for index in absent[:5])
    return f"{text}; no train images of {len(absent)} classes: {names}{', ...' if len(absent) > 5 else ''}"


def _values(splits: Splits) -> str:
    dataset, among = splits.train, ""
    if isinstance(dataset, Images | Masks):
        images = dataset.images
    else:
        total = len(dataset)  # type: ignore[arg-type]
        places = torch.from_numpy(np.unique(np.linspace(0, total - 1, RANGE_ITEMS).astype(np.int64)))
        ((images, _),) = raw_batches(dataset, [(places, 0)], 0, Part(splits.name, "train", len(splits.classes)))
        among = f" in {len(places)} of them" if len(places) < total else ""
    kind = str(images.dtype).removeprefix("torch.")
    digits = ".2f" if images.is_floating_point() else "d"
    return f"values {images.min().item():{digits}} to {images.max().item():{digits}} ({kind}){among}"


def _check_headers(dataset: Any, say: Callable[[str], None]) -> None:
    part, indices = (dataset.dataset, dataset.indices) if isinstance(dataset, Subset) else (dataset, None)
    if not isinstance(part, Folder):
        return
    places = np.arange(len(part)) if indices is None else np.asarray(indices)
    spread = np.unique(np.linspace(0, len(places) - 1, min(len(places), HEADERS)).astype(np.int64))
    waiting = Waiting(say)
    for done, index in enumerate(places[spread].tolist()):
        check_header(part.samples[index][0])
        waiting.tell(f"data imagefolder: headers of {done:,} of {len(spread):,} files checked")
