"""What is known about a data set before it is opened: enough to plan a suite. Imports no torch.

The registry names and their loaders are in `drbench.data.sets`; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drbench import bounds, paths
from drbench.errors import InputError, unknown
from drbench.names import HINT, is_import
from drbench.records import DataSettings


@dataclass(frozen=True)
class Info:
    """Of a data set: number of classes, shape (C, H, W) of one network input, whether it is generated."""

    num_classes: int
    input_shape: tuple[int, int, int]
    synthetic: bool = False


IMAGEFOLDER = "imagefolder"
IMAGEFOLDER_SIZE = 224
"""Side of the square an image folder's images are cropped to, in pixels, unless `input_size` says otherwise."""

KNOWN: Mapping[str, Info] = {
    "shapes": Info(10, (3, 32, 32), synthetic=True),
    "cifar10": Info(10, (3, 32, 32)),
    "cifar100": Info(100, (3, 32, 32)),
    "fashion-mnist": Info(10, (3, 32, 32)),
}
NAMES = (*KNOWN, IMAGEFOLDER)


def info(settings: DataSettings, *, input_size: int | None = None) -> Info:
    """Classes and input shape without reading images; only a package.module:callable has to be opened for it.

    `input_size` (or `input_size` among the data set's own arguments) is the side the images are brought to.
    InputError for an unknown name, or an image folder that is not there.
    """
    size = side("input_size", input_size or settings.args.get("input_size"))
    if settings.name in KNOWN:
        known = KNOWN[settings.name]
        own = side("size", settings.args.get("size")) if known.synthetic else None  # drawn at any size
        size = size or own or known.input_shape[1]
        return Info(known.num_classes, (known.input_shape[0], size, size), known.synthetic)
    if settings.name == IMAGEFOLDER:
        size = size or IMAGEFOLDER_SIZE
        return Info(len(folder_classes(folder_root(settings.root) / "train")), (3, size, size))
    if is_import(settings.name):
        from drbench.data.sets import open_data  # loads torch: nothing less can tell what a callable returns

        splits = open_data(settings, input_size=input_size)
        return Info(len(splits.classes), splits.input_shape, splits.synthetic)
    raise unknown("data set", settings.name, NAMES, HINT)


def side(name: str, value: Any) -> int | None:
    """A side of an image in pixels from a suite's [data.args], or None. InputError for what is no such number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= bounds.SIDE:
        raise InputError(f"data {name}: got {value!r:.50}; expected a whole number of pixels from 1 to {bounds.SIDE}")
    return value


def folder_root(root: str | None) -> Path:
    """The folder of an image folder data set. InputError unless it holds train/ and val/."""
    if root is None:
        raise InputError("data set 'imagefolder' needs --data-root DIR, a folder with train/CLASS/* and val/CLASS/*")
    base = paths.expanded(root, "--data-root")
    for part in ("train", "val"):
        if not paths.is_directory(base / part, "--data-root"):
            raise InputError(
                f"no image folder in {base}: expected {base / part}/CLASS/*.jpg (train/ and val/ side by side)"
            )
    return base


def folder_classes(folder: Path) -> tuple[str, ...]:
    """Names of the class folders in `folder`, sorted as torchvision's ImageFolder numbers them, without hidden ones.

    InputError for none, for a link that leads nowhere, and for a name that is not UTF-8.
    """
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error
    for entry in entries:
        if entry.is_symlink() and not entry.exists():
            raise InputError(f"{entry} is a link that leads nowhere. Repair or remove it")
    names = sorted(entry.name for entry in entries if entry.is_dir())
    for name in names:
        if not name.isprintable():  # a model file keeps the names, as UTF-8
            raise InputError(f"{folder}: got a class folder named {name!r}; expected printable UTF-8. Rename it")
    if not names:
        raise InputError(f"{folder}: expected class folders as {folder}/CLASS/*.jpg (or png, ...), got none")
    return tuple(names)
