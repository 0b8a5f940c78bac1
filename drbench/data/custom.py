"""A data set of the user's own: "package.module:callable".

The callable is called with the data set's arguments (`--data-set key=value`, `[data.args]`) as keywords, and with
`root` and `download` if it takes them. It returns one of

- `(train, test)`: two map-style torch Datasets of (image, label); image a (C, H, W) tensor, uint8 or float in [0, 1],
  or a PIL image; all of one size unless `input_size` is given; label an int from 0. The class names are
  `train.classes`; without them, and with `train.targets` (or `.labels`, or `.tensors[1]`), classes are numbered.
  Validation images are held out of `train` here. Augmentation is the data set's own: what it draws from torch or
  `random` is seeded.
- `drbench.data.Splits`: taken as it is, for full control (a held-out part without augmentation, mean and std, digest).
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset
from torchvision.transforms.v2 import functional

from drbench.data.batches import as_tensor, seeded
from drbench.data.preprocess import describe, override
from drbench.data.splits import Splits, hold_out
from drbench.errors import InputError
from drbench.records import DataSettings

DIGEST_ITEMS = 256


def open_custom(
    function: Callable[..., Any],
    settings: DataSettings,
    *,
    input_size: int | None = None,
    preprocessing: dict[str, Any] | None = None,
) -> Splits:
    """Call `function` as the protocol above says. InputError where it returns something else."""
    arguments = dict(settings.args)
    size = arguments.pop("input_size", None) if "input_size" not in _parameters(function) else None
    size = input_size or size
    for name, value in (("root", settings.root), ("download", settings.download)):
        if name in _parameters(function):
            arguments.setdefault(name, value)
    _check_arguments(settings.name, function, arguments)
    made = function(**arguments)
    if isinstance(made, Splits):
        return made
    if not (isinstance(made, tuple) and len(made) == 2 and all(hasattr(part, "__getitem__") for part in made)):
        raise InputError(
            f"data set {settings.name!r} returned {type(made).__name__}: expected (train, test), two torch Datasets, "
            "or drbench.data.Splits"
        )
    train, test = made
    labels = _labels(train)
    classes = _classes(settings.name, train, labels)
    first = _first(settings.name, train)
    if size is not None:
        train, test = Resized(train, size), Resized(test, size)
    shape = (int(first.shape[0]), *((size, size) if size else (int(first.shape[1]), int(first.shape[2]))))
    half = (0.5,) * shape[0]
    prepared = override({**describe(0, half, half), "input_size": list(shape[1:])}, preprocessing)
    kept, held = hold_out(labels if labels is not None else [0] * len(train), settings.val_fraction)
    return Splits(
        name=settings.name,
        train=Subset(train, kept),
        val=Subset(train, held) if held else None,
        test=test,
        classes=classes,
        input_shape=(shape[0], *prepared["input_size"]),
        preprocessing=prepared,
        digest=_digest(train, test),
        val_indices=tuple(held),
    )


class Resized(Dataset[Any]):
    """A data set whose images are brought to `size` x `size` px, one by one."""

    def __init__(self, dataset: Any, size: int) -> None:
        self.dataset = dataset
        self.size = size

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        image, label = self.dataset[index]
        return functional.resize(as_tensor(image), [self.size, self.size], antialias=True), label


def _parameters(function: Callable[..., Any]) -> Sequence[str]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # some callables written in C have none to show
        return ()


def _check_arguments(name: str, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise InputError(f"data set {name!r}: {error}; it takes {signature}") from error


def _labels(train: Any) -> Sequence[int] | None:
    for name in ("targets", "labels"):
        if hasattr(train, name):
            return [int(label) for label in getattr(train, name)]
    if len(getattr(train, "tensors", ())) > 1:
        return [int(label) for label in train.tensors[1]]
    return None


def _classes(name: str, train: Any, labels: Sequence[int] | None) -> tuple[str, ...]:
    if hasattr(train, "classes"):
        return tuple(map(str, train.classes))
    if labels:
        return tuple(map(str, range(max(labels) + 1)))
    raise InputError(f"data set {name!r}: its training set needs `classes` (names) or `targets` (a label per image)")


def _first(name: str, train: Any) -> Tensor:
    try:
        with seeded(0):
            image, _ = train[0]
            image = as_tensor(image)
    except Exception as error:  # the user's own code: theirs to mend, told in one line
        raise InputError(f"data set {name!r}: its first item is no (image, label): {error}") from error
    if image.dim() != 3 or not (image.is_floating_point() or image.dtype == torch.uint8):
        raise InputError(
            f"data set {name!r}: images are {image.dtype} of shape {tuple(image.shape)}; allowed are (C, H, W) "
            "tensors, uint8 or float in [0, 1], and PIL images"
        )
    return image


def _digest(*parts: Any) -> str:
    """SHA-256 over the lengths and up to DIGEST_ITEMS items of each part, evenly spread."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}\n".encode())
        for index in np.linspace(0, len(part) - 1, min(len(part), DIGEST_ITEMS)).astype(int).tolist():
            with seeded(index):
                image, label = part[index]
                digest.update(as_tensor(image).contiguous().numpy().tobytes())
            digest.update(f"{int(label)}\n".encode())
    return digest.hexdigest()
