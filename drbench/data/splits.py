"""An opened data set, and how validation images are held out of its training part."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from drbench.data.masks import FlipScale, Masks
from drbench.data.preprocess import check_preprocessing
from drbench.data.verification import protocol_of
from drbench.errors import InputError

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""(N, C, H, W) uint8 or float -> the same shape and dtype, every image changed on its own by draws of the generator."""

VAL_SEED = 20200327
"""Which images are held out; a constant, so that every variant, seed and machine holds out the same ones."""


class Images(Dataset[tuple[Tensor, int]]):
    """Images in memory: `images` (N, C, H, W) uint8, `labels` (N,) int64. Batches are taken by one indexing."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])


@dataclass(frozen=True)
class Splits:
    """A data set, opened: three torch Datasets of (image, label), and what a result has to say about them.

    Images are (C, H, W) tensors, uint8 or float in [0, 1], or PIL images; labels count from 0 in the order of
    `classes`. `val` holds the images `val_indices` of the whole training set, and is None where nothing is held out.
    `preprocessing` is what stands between an image and the network (see `drbench.data.preprocess`), plain enough for
    JSON. `augment` works on batches of training images before that. `digest` is a SHA-256 over the data.

    `targets` says what a label is. "classes": the same classes in all parts. "people": `classes` are those of the
    training part; the other parts show other people, numbered from 0 in each, and have a `protocol`
    (`drbench.data.verification`). "masks": a class for each pixel (`drbench.data.masks`).
    """

    name: str
    train: Dataset[Any]
    val: Dataset[Any] | None
    test: Dataset[Any]
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    preprocessing: Mapping[str, Any]
    digest: str
    synthetic: bool = False
    val_indices: tuple[int, ...] = ()
    augment: Augment | FlipScale | None = None
    targets: str = "classes"


def labels_of(splits: Splits, dataset: Dataset[Any]) -> int:
    """The number of different labels that a part of the data set may have."""
    protocol = protocol_of(dataset)
    return len(splits.classes) if protocol is None else protocol.count


def check_splits(splits: Splits) -> Splits:
    """`splits`, or InputError for the first field that a training could not work with."""

    def refuse(what: str) -> InputError:
        return InputError(f"data set {splits.name!r}: {what}")

    if not splits.classes or not all(isinstance(name, str) for name in splits.classes):
        raise refuse(f"got {len(splits.classes)} classes; expected the names of all classes")
    shape = splits.input_shape
    if len(shape) != 3 or not all(isinstance(size, int) and size > 0 for size in shape):
        raise refuse(f"got input_shape {shape!r}; expected (C, H, W)")
    for part, dataset in (("train", splits.train), ("validation", splits.val), ("test", splits.test)):
        if dataset is None and part == "validation":
            continue
        if not isinstance(dataset, Sized) or not hasattr(dataset, "__getitem__"):
            raise refuse(f"{part} is a {type(dataset).__name__}; expected a torch Dataset with a length")
        if not len(dataset):
            raise refuse(f"{part} has no images")
        if isinstance(dataset, Images):
            _check_images(dataset, labels_of(splits, dataset), refuse, part)
        if isinstance(dataset, Masks) and dataset.masks.shape != (len(dataset.images), *dataset.images.shape[2:]):
            raise refuse(f"{part} has masks of shape {tuple(dataset.masks.shape)}; expected one of each image's size")
    try:
        check_preprocessing(splits.preprocessing, shape[0])
    except InputError as error:
        raise refuse(str(error)) from error
    return splits


def _check_images(dataset: Images, classes: int, refuse: Callable[[str], InputError], part: str) -> None:
    images, labels = dataset.images, dataset.labels
    if images.dim() != 4 or labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise refuse(
            f"{part} holds images of shape {tuple(images.shape)} and {labels.dtype} labels of shape "
            f"{tuple(labels.shape)}; expected (N, C, H, W) and int64 of shape (N,)"
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise refuse(
            f"{part} has labels from {int(labels.min())} to {int(labels.max())}; expected 0 to {classes - 1}, for the "
            f"training set has {classes} classes"
        )
    if images.is_floating_point() and not bool(images.isfinite().all()):
        raise refuse(f"{part} images hold NaN or infinite values")


def hold_out(labels: Sequence[int] | npt.NDArray[np.integer[Any]], fraction: float) -> tuple[list[int], list[int]]:
    """Indices that stay in train and indices held out for validation, both ascending.

    The same share of every class, rounded; a class of at least two images keeps one on each side if `fraction` > 0.
    Depends on the labels, the fraction and VAL_SEED alone.
    """
    if not isinstance(fraction, int | float) or not 0 <= fraction < 1:
        raise InputError(f"val_fraction: got {fraction!r}; expected a number from 0 to below 1, as in 0.1")
    labels = np.asarray(labels)
    # Ranks of uniform draws instead of Generator.permutation: numpy keeps PCG64's doubles stable between releases, but
    # not its shuffling.
    draws = np.random.Generator(np.random.PCG64(VAL_SEED)).random(len(labels))
    held: list[int] = []
    if fraction > 0:
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            count = min(max(round(fraction * len(members)), 1), len(members) - 1)
            held += members[np.argsort(draws[members], kind="stable")[:count]].tolist()
    kept = np.ones(len(labels), dtype=bool)
    kept[held] = False
    return np.flatnonzero(kept).tolist(), sorted(held)


def hold_out_people(
    labels: Sequence[int] | npt.NDArray[np.integer[Any]], fraction: float
) -> tuple[list[int], list[int]]:
    """As `hold_out`, but whole people: every image of a person is on one side. Two people or more on each side."""
    people = np.unique(np.asarray(labels))
    _, held = hold_out(np.zeros(len(people), np.int64), fraction)
    if held and len(people) >= 4:
        draws = np.random.Generator(np.random.PCG64(VAL_SEED)).random(len(people))
        count = min(max(len(held), 2), len(people) - 2)
        held = np.argsort(draws, kind="stable")[:count].tolist()
    is_held = np.isin(np.asarray(labels), people[held])
    return np.flatnonzero(~is_held).tolist(), np.flatnonzero(is_held).tolist()


def array_digest(*arrays: npt.NDArray[Any]) -> str:
    """SHA-256 over shapes, dtypes and contents."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
