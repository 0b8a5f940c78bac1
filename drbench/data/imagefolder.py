"""Any folder of images: root/train/CLASS/* and root/val/CLASS/*, so ImageNet, Imagenette, Tiny-ImageNet.

The folder's val/ is the test set here, as everywhere for these data sets; validation images are held out of train/.
Images stay on disk and are decoded one by one, in `loader_workers` processes. Every file is looked at when the folder
is opened, so that a missing or empty one is found before the first training; none is decoded then.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset, Subset

from drbench.data.augment import check_augment
from drbench.data.decode import DECODING, decode
from drbench.data.files import Found, find_images
from drbench.data.folders import IMAGEFOLDER_SIZE, folder_classes, folder_root
from drbench.data.preprocess import CROP_FRACTION, IMAGENET_MEAN, IMAGENET_STD, describe, folder_transform, override
from drbench.data.splits import Splits, hold_out
from drbench.data.waiting import silent
from drbench.errors import InputError


class Folder(Dataset[tuple[Any, int]]):
    """Image files with their class: `samples` as (path, class index) and `targets`, the class indices alone."""

    def __init__(self, samples: Sequence[tuple[str, int]], transform: Callable[[Any], Any]) -> None:
        self.samples = samples
        self.targets = [label for _, label in samples]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, label = self.samples[index]
        return self.transform(decode(path)), label


def imagefolder(
    *,
    root: str | None = None,
    val_fraction: float = 0.1,
    augment: str = "standard",
    input_size: int | None = None,
    preprocessing: dict[str, Any] | None = None,
    say: Callable[[str], None] = silent,
) -> Splits:
    """Images cropped to `input_size` px (default 224).

    Train: a random crop of 8% to 100% of the area, resized, and mirroring. Else: resized so that the short side is
    input_size / 0.875, centre crop. `say` is called with the files that are left out. InputError if a folder is
    missing, empty or cannot be read, if val/ has other classes than train/, and for files that cannot be opened (see
    `files`).
    """
    check_augment(augment)
    base = folder_root(root)
    size = input_size or IMAGEFOLDER_SIZE
    prepared = override(describe(size, IMAGENET_MEAN, IMAGENET_STD, round(size / CROP_FRACTION)), preprocessing)
    classes = _classes(base)
    train, test = (find_images(base / part, classes, say) for part in ("train", "val"))
    _say_left_out(base, classes, train.left_out + test.left_out, say)
    random_crop, centre_crop = (folder_transform(prepared, name) for name in (augment, "none"))
    kept, held = hold_out([label for _, label in train.samples], val_fraction)
    held_out: Dataset[Any] | None = Subset(Folder(train.samples, centre_crop), held) if held else None
    return Splits(
        name="imagefolder",
        train=Subset(Folder(train.samples, random_crop), kept),
        val=held_out,
        test=Folder(test.samples, centre_crop),
        classes=classes,
        input_shape=(3, *prepared["input_size"]),
        preprocessing=prepared,
        digest=digest_of(base, train, test),
        val_indices=tuple(held),
    )


def _classes(base: Path) -> tuple[str, ...]:
    train, test = (folder_classes(base / part) for part in ("train", "val"))
    if odd := sorted(set(train) ^ set(test)):
        raise InputError(
            f"{base}: train/ and val/ need the same class folders; only one of them has {', '.join(odd[:5])}"
            f"{', ...' if len(odd) > 5 else ''}"
        )
    return train


def _say_left_out(base: Path, classes: Sequence[str], left_out: Counter[str], say: Callable[[str], None]) -> None:
    for part in ("train", "val"):  # find_images has seen what is in the class folders, not what is next to them
        names = {entry.name for entry in (base / part).iterdir()} - set(classes)
        left_out.update("hidden" if name.startswith(".") else f"*{Path(name).suffix}" for name in names)
    if left_out:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in left_out.most_common(5))
        say(f"data imagefolder: left out {left_out.total():,} files and folders: {kinds}")
    if (base / "test").is_dir():
        say(f"data imagefolder: {base / 'test'} is not used; the test images are those of {base / 'val'}")


def digest_of(base: Path, *parts: Found, extra: bytes = b"") -> str:
    """SHA-256 over the sorted relative file names and sizes: contents of a million files would take minutes.

    And over the version of the decoding, which decides with them what the network is given, and over `extra`.
    """
    digest = hashlib.sha256(f"decoding {DECODING}\n".encode() + extra)
    for found in parts:
        for (name, _), size in sorted(zip(found.samples, found.sizes, strict=True)):
            digest.update(Path(name).relative_to(base).as_posix().encode(errors="surrogateescape"))
            digest.update(f"\0{size}\n".encode())
    return digest.hexdigest()
