"""A data set of the user's own: "package.module:callable".

The callable is called with the data set's arguments (`args` of a suite's [data]) as keywords, and with `root` and
`download` if it takes them. It returns one of

- `(train, test)`: two map-style torch Datasets of (image, label); image a (C, H, W) tensor, uint8 or float in [0, 1],
  or a PIL image; all of one size unless `input_size` is given; label an int from 0. The class names are
  `train.classes`; without them, and with `train.targets` (or `.labels`, or `.tensors[1]`), classes are numbered.
  Validation images are held out of `train` here. Augmentation is the data set's own: what it draws from torch or
  `random` is seeded.
- `drbench.data.Splits`: taken as it is, for full control (a held-out part without augmentation, mean and std, digest).

What the callable does wrong is its author's to mend: one line that names the data set and the item, never our failure.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Subset
from torchvision.transforms.v2 import functional

from drbench.data.batches import Part, out_of_range, seeded
from drbench.data.items import MAX_CLASSES, as_image, as_item, problem
from drbench.data.labels import Labels, check_range, listed
from drbench.data.preprocess import describe, override
from drbench.data.splits import Splits, hold_out
from drbench.errors import DataError, InputError
from drbench.records import DataSettings

DIGEST_ITEMS = 256
MOST_IMAGES = 100_000_000
"""Of a part: what can be shuffled and held out in memory."""
LOWEST, HIGHEST = -0.5, 1.5
"""Of float images. Half the range to each side is left for noise and for what interpolation overshoots."""


def open_custom(
    function: Callable[..., Any],
    settings: DataSettings,
    *,
    input_size: int | None = None,
    preprocessing: dict[str, Any] | None = None,
) -> Splits:
    """Call `function` as the protocol above says. InputError where it raises, or returns something else.

    Up to DIGEST_ITEMS items of each part are loaded and checked, and all labels that the data set lists.
    """
    name, arguments = settings.name, dict(settings.args)
    size = arguments.pop("input_size", None) if "input_size" not in _parameters(function) else None
    size = input_size or size
    for key, value in (("root", settings.root), ("download", settings.download)):
        if key in _parameters(function):
            arguments.setdefault(key, value)
    _check_arguments(name, function, arguments)
    try:
        made = function(**arguments)
    except (Exception, SystemExit) as error:  # the user's own code: theirs to mend, told in one line
        raise InputError(f"data set {name!r} raised {problem(error)}") from error
    if isinstance(made, Splits):
        return made
    train, test = _pair(name, made)
    first, _ = _item(f"data set {name!r}, train", train, 0)
    labels = listed(train)
    classes = _classes(name, train, labels)
    if size is not None:
        train, test = Resized(train, size), Resized(test, size)
    shape = (int(first.shape[0]), *((size, size) if size else (int(first.shape[1]), int(first.shape[2]))))
    digest = hashlib.sha256()
    for part, dataset, known in (("train", train, labels), ("test", test, listed(test))):
        about = Part(name, part, len(classes))
        agree = _survey(about, dataset, shape, known, digest)
        if known is not None and agree:
            check_range(about, dataset, known)
    half = (0.5,) * shape[0]
    prepared = override({**describe(0, half, half), "input_size": list(shape[1:])}, preprocessing)
    kept, held = hold_out(labels if labels is not None else [0] * len(train), settings.val_fraction)
    return Splits(
        name=name,
        train=Subset(train, kept),
        val=Subset(train, held) if held else None,
        test=test,
        classes=classes,
        input_shape=(shape[0], *prepared["input_size"]),
        preprocessing=prepared,
        digest=digest.hexdigest(),
        val_indices=tuple(held),
    )


class Resized(Dataset[Any]):
    """A data set whose images are brought to `size` x `size` px, one by one."""

    def __init__(self, dataset: Any, size: int) -> None:
        self.dataset = dataset
        self.size = size

    @property
    def targets(self) -> Labels | None:
        """As the data set lists them."""
        return listed(self.dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        image, label = self.dataset[index]
        return functional.resize(as_image(image), [self.size, self.size], antialias=True), label


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


def _pair(name: str, made: Any) -> tuple[Any, Any]:
    """(train, test), both with a length above 0 and items by index."""
    wanted = "expected (train, test), two torch Datasets, or drbench.data.Splits"
    if not isinstance(made, tuple | list) or len(made) != 2:
        got = f"{type(made).__name__} of {len(made)}" if isinstance(made, tuple | list) else type(made).__name__
        raise InputError(f"data set {name!r} returned {got}: {wanted}")
    for part, dataset in zip(("train", "test"), made, strict=True):
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
            raise InputError(
                f"data set {name!r}: {part} is a {type(dataset).__name__} without items by index; {wanted}"
            )
        try:
            length = len(dataset)
        except Exception as error:
            raise InputError(f"data set {name!r}: {part} has no length, {problem(error)}; {wanted}") from error
        if not 0 < length <= MOST_IMAGES:
            raise InputError(f"data set {name!r}: {part} has {length or 'no'} images; expected 1 to {MOST_IMAGES}")
    return made[0], made[1]


def _classes(name: str, train: Any, labels: Labels | None) -> tuple[str, ...]:
    try:
        given = getattr(train, "classes", None)
    except Exception as error:  # a property of the user's own
        raise InputError(f"data set {name!r}: `classes` raised {problem(error)}") from error
    if given is not None:
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise InputError(f"data set {name!r}: `classes` is a {type(given).__name__}; expected a list of names")
        return tuple(map(str, given))
    if labels is None:
        raise InputError(
            f"data set {name!r}: its training set needs `classes` (a list of names) or `targets` (a list of whole "
            "numbers, one per image)"
        )
    if labels.max() >= MAX_CLASSES:
        raise InputError(
            f"data set {name!r}: train has the label {labels.max()}; expected class indices below {MAX_CLASSES}. "
            "Number the classes from 0"
        )
    return tuple(map(str, range(int(labels.max()) + 1)))


def _item(part: object, dataset: Any, index: int) -> tuple[Tensor, int]:
    try:
        with seeded(index):
            item = dataset[index]
        return as_item(item)
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:  # again the user's own code
        raise DataError(f"{part} item {index}: {problem(error)}") from error


def _survey(part: Part, dataset: Any, shape: tuple[int, ...], known: Labels | None, digest: Any) -> bool:
    """Load up to DIGEST_ITEMS items, evenly spread, into `digest`; whether their labels are the `known` ones.

    DataError for an item that is unlike the first, or whose values are not in [0, 1]. The digest is a SHA-256 over the
    length and these items.
    """
    agree, lowest, highest = True, 0.0, 0.0
    digest.update(f"{len(dataset)}\n".encode())
    for index in np.linspace(0, len(dataset) - 1, min(len(dataset), DIGEST_ITEMS)).astype(int).tolist():
        image, label = _item(part, dataset, index)
        if tuple(image.shape) != shape:
            raise DataError(
                f"{part} item {index}: image has shape {tuple(image.shape)}, the first has {shape}; expected one size. "
                "Resize them, or give input_size in the args of [data]"
            )
        if known is None or known[index] != label:
            agree = False
        if label >= part.classes:
            raise out_of_range(part, index, label)
        if image.is_floating_point():
            lowest, highest = min(lowest, float(image.min())), max(highest, float(image.max()))
        digest.update(image.contiguous().numpy().tobytes())
        digest.update(f"{label}\n".encode())
    if lowest < LOWEST or highest > HIGHEST:
        hint = "Divide by 255, or return uint8" if lowest >= LOWEST else "Leave out the normalisation: it is done here"
        raise DataError(f"{part}: images hold floats from {lowest:.3g} to {highest:.3g}; expected [0, 1]. {hint}")
    return agree
