"""What is known about a data set before it is opened: enough to plan a suite. Imports no torch.

The registry names and their loaders are in `drbench.data.sets`; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from drbench.data.arguments import side
from drbench.data.folders import FACE_SIZE, IMAGEFOLDER_SIZE, folder_classes, folder_root
from drbench.errors import unknown
from drbench.names import HINT, is_import
from drbench.records import DataSettings


@dataclass(frozen=True)
class Info:
    """Of a data set: number of classes, shape (C, H, W) of one network input, whether it is generated."""

    num_classes: int
    input_shape: tuple[int, int, int]
    synthetic: bool = False


IMAGEFOLDER = "imagefolder"

KNOWN: Mapping[str, Info] = {
    "shapes": Info(10, (3, 32, 32), synthetic=True),
    "cifar10": Info(10, (3, 32, 32)),
    "cifar100": Info(100, (3, 32, 32)),
    "fashion-mnist": Info(10, (3, 32, 32)),
    "scenes": Info(6, (3, 96, 96), synthetic=True),
    "identities": Info(60, (3, 64, 64), synthetic=True),
}
IMAGE_FOLDERS: Mapping[str, int] = {IMAGEFOLDER: IMAGEFOLDER_SIZE, "faces": FACE_SIZE}
"""Name -> side of its images in pixels; the classes are the folders in root/train."""
NAMES = (*KNOWN, *IMAGE_FOLDERS)


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
    if settings.name in IMAGE_FOLDERS:
        size = size or IMAGE_FOLDERS[settings.name]
        root = folder_root(settings.root, settings.name)
        return Info(len(folder_classes(root / "train")), (3, size, size))
    if is_import(settings.name):
        from drbench.data.sets import open_data  # loads torch: nothing less can tell what a callable returns

        splits = open_data(settings, input_size=input_size)
        return Info(len(splits.classes), splits.input_shape, splits.synthetic)
    raise unknown("data set", settings.name, NAMES, HINT)
