"""Any folder of images: root/train/CLASS/* and root/val/CLASS/*, so ImageNet, Imagenette, Tiny-ImageNet.

The folder's val/ is the test set here, as everywhere for these data sets; validation images are held out of train/.
Images stay on disk and are decoded one by one, in `loader_workers` processes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset, Subset
from torchvision.datasets import ImageFolder

from drbench.data.augment import check_augment
from drbench.data.info import IMAGEFOLDER_SIZE, folder_root
from drbench.data.preprocess import CROP_FRACTION, IMAGENET_MEAN, IMAGENET_STD, describe, folder_transform, override
from drbench.data.splits import Splits, hold_out
from drbench.errors import InputError


def imagefolder(
    *,
    root: str | None = None,
    val_fraction: float = 0.1,
    augment: str = "standard",
    input_size: int | None = None,
    preprocessing: dict[str, Any] | None = None,
) -> Splits:
    """Images cropped to `input_size` px (default 224).

    Train: a random crop of 8% to 100% of the area, resized, and mirroring. Else: resized so that the short side is
    input_size / 0.875, centre crop. InputError if a folder is missing or empty, or val/ has other classes than train/.
    """
    check_augment(augment)
    base = folder_root(root)
    size = input_size or IMAGEFOLDER_SIZE
    prepared = override(describe(size, IMAGENET_MEAN, IMAGENET_STD, round(size / CROP_FRACTION)), preprocessing)
    random_crop = folder_transform(prepared, augment)
    centre_crop = folder_transform(prepared, "none")
    train, plain_train, test = (
        _folder(base / part, transform)
        for part, transform in (("train", random_crop), ("train", centre_crop), ("val", centre_crop))
    )
    if train.classes != test.classes:
        odd = sorted(set(train.classes) ^ set(test.classes))
        raise InputError(
            f"{base}: train/ and val/ need the same class folders; only one of them has {', '.join(odd[:5])}"
            f"{', ...' if len(odd) > 5 else ''}"
        )
    kept, held = hold_out(train.targets, val_fraction)
    held_out: Dataset[Any] | None = Subset(plain_train, held) if held else None
    return Splits(
        name="imagefolder",
        train=Subset(train, kept),
        val=held_out,
        test=test,
        classes=tuple(train.classes),
        input_shape=(3, *prepared["input_size"]),
        preprocessing=prepared,
        digest=_digest(base, train, test),
        val_indices=tuple(held),
    )


class Folder(ImageFolder):  # type: ignore[misc]
    """torchvision's ImageFolder, naming the file that cannot be decoded."""

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        try:
            return super().__getitem__(index)  # type: ignore[no-any-return]
        except (OSError, SyntaxError, ValueError) as error:  # all of them raised by PIL for damaged files
            raise InputError(f"{self.samples[index][0]} cannot be decoded: {error}; mend or remove it") from error


def _folder(path: Path, transform: Any) -> Folder:
    try:
        return Folder(str(path), transform)
    except FileNotFoundError as error:  # torchvision's word for a folder without classes, or a class without images
        raise InputError(f"{path}: expected {path}/CLASS/*.jpg (or png, ...): {str(error).splitlines()[0]}") from error


def _digest(base: Path, *folders: Folder) -> str:
    """SHA-256 over the sorted relative file names and sizes: contents of a million files would take minutes."""
    digest = hashlib.sha256()
    for folder in folders:
        for name, _ in sorted(folder.samples):
            digest.update(f"{Path(name).relative_to(base).as_posix()}\0{Path(name).stat().st_size}\n".encode())
    return digest.hexdigest()
