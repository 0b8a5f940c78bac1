"""The labels of a data set, without loading its images where that can be done, and the check of all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from drbench.data.batches import Part, in_order, out_of_range, raw_batches
from drbench.data.items import origin
from drbench.data.masks import Masks
from drbench.data.splits import Images, Splits, labels_of
from drbench.data.waiting import Waiting

Labels = npt.NDArray[np.int64]
PASS_SECONDS = 60.0
"""The longest that items are loaded only to see their labels; later ones are checked when training needs them."""
PASS_BATCH = 64
AGREE_ITEMS = 8
"""Items loaded to see whether a data set's list of labels is what its items have: a target_transform changes them."""


def listed(dataset: Any) -> Labels | None:
    """Labels (N,) from `targets`, `labels` or a TensorDataset's second tensor; None where there is no such list.

    Looks through Subset and ConcatDataset. A list of something else (text, floats, one-hot rows) is none.
    """
    try:
        return _listed(dataset)
    except Exception:  # an attribute of a user's own class may do anything; its items tell then
        return None


def _listed(dataset: Any) -> Labels | None:
    if isinstance(dataset, Subset):
        whole = _listed(dataset.dataset)
        return None if whole is None else whole[np.asarray(dataset.indices, dtype=np.int64)]
    if isinstance(dataset, ConcatDataset):
        parts = [_listed(part) for part in dataset.datasets]
        return None if any(part is None for part in parts) else np.concatenate(parts)  # type: ignore[arg-type]
    for name in ("targets", "labels"):
        if hasattr(dataset, name):
            return _indices(getattr(dataset, name), len(dataset))
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        return _indices(dataset.tensors[1], len(dataset))
    return None


def _indices(labels: Any, length: int) -> Labels | None:
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
    array = np.asarray(labels if isinstance(labels, np.ndarray) else [_plain(label) for label in labels])
    if array.dtype.kind == "f" and (array == np.floor(array)).all():  # whole numbers, as read from a table
        array = array.astype(np.int64)
    if array.shape != (length,) or array.dtype.kind not in "bui" or (array.dtype.kind == "u" and array.itemsize == 8):
        return None
    return array.astype(np.int64)


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, Tensor | np.generic) else label


def check_range(part: Part, dataset: Any, labels: Labels) -> None:
    """DataError for the first of a part's labels that is not from 0 to `classes` - 1."""
    odd = np.flatnonzero((labels < 0) | (labels >= part.classes))
    if len(odd):
        more = f" ({len(odd):,} items have such labels)" if len(odd) > 1 else ""
        raise out_of_range(part, origin(dataset, int(odd[0])), int(labels[odd[0]]), more)


def check_labels(splits: Splits, say: Callable[[str], None], workers: int = 0) -> None:
    """Check the labels of all images of all parts against the classes. DataError for the first one out of range.

    Where only loading an item shows its label, items are loaded for up to PASS_SECONDS a part, and `say` is called with
    how far that came; an item that cannot be used is a DataError too.
    """
    for name, dataset in (("train", splits.train), ("validation", splits.val), ("test", splits.test)):
        if dataset is None:
            continue
        part = Part(splits.name, name, labels_of(splits, dataset))
        if isinstance(dataset, Masks):
            for _ in raw_batches(dataset, in_order(len(dataset), PASS_BATCH), 0, part):
                pass
            continue
        known = listed(dataset)
        if isinstance(dataset, Images) or (known is not None and _agrees(dataset, known, part)):
            assert known is not None
            check_range(part, dataset, known)
        else:
            _pass(dataset, part, say, workers)


def _agrees(dataset: Dataset[Any], known: Labels, part: Part) -> bool:
    """Whether some items, evenly spread, have the labels that the list says."""
    places = torch.from_numpy(np.unique(np.linspace(0, len(known) - 1, AGREE_ITEMS).astype(np.int64)))
    ((_, labels),) = raw_batches(dataset, [(places, 0)], 0, part)
    return bool(np.array_equal(labels.numpy(), known[places.numpy()]))


def _pass(dataset: Any, part: Part, say: Callable[[str], None], workers: int) -> None:
    """Load one item after the other; raises for the first that cannot be used."""
    total, done, waiting = len(dataset), 0, Waiting(say)
    for _, labels in raw_batches(dataset, in_order(total, PASS_BATCH), workers, part):
        done += len(labels)
        waiting.tell(f"{part}: labels of {done:,} of {total:,} images checked")
        if waiting.seconds > PASS_SECONDS and done < total:
            say(
                f"{part}: labels of {done:,} of {total:,} images checked in {waiting.seconds:.0f} s; the rest is "
                "checked when it is used. A list `targets` in the data set makes this quick"
            )
            return
