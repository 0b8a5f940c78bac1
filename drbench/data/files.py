"""The image files of a folder's class folders, in torchvision's order, each looked at once without being decoded.

Hidden files and folders (.ipynb_checkpoints, macOS's ._photo.jpg) and files without an image's extension are left out
and counted.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from drbench.data.decode import check_file
from drbench.data.waiting import Waiting, silent
from drbench.errors import DataError, InputError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""As torchvision's ImageFolder."""


@dataclass
class Found:
    """Files in order: `samples` (path, class index), `sizes` in bytes; and how many were left out, by kind."""

    samples: list[tuple[str, int]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def find_images(folder: Path, classes: Sequence[str], say: Callable[[str], None] = silent) -> Found:
    """Find the images in `folder`/CLASS/ and below, following links; `say` is called with progress if it takes long.

    InputError for a class without images. DataError for a file that is missing behind its link, not a regular file,
    empty or not readable, and for a folder that cannot be read or is a link to one that holds it.
    """
    found, waiting = Found(), Waiting(say)
    for index, name in enumerate(classes):
        start = len(found.samples)
        folders: list[tuple[str, list[str]]] = []
        _walk(str(folder / name), folders, found.left_out, (_place(str(folder)),))
        for parent, files in sorted(folders):  # by path as torchvision does: it numbers the images
            for file in sorted(files):
                path = os.path.join(parent, file)
                found.sizes.append(check_file(path))
                found.samples.append((path, index))
                waiting.tell(f"{folder}: {len(found.samples):,} image files found so far")
        if len(found.samples) == start:
            raise InputError(f"{folder / name}: got no images; expected *.jpg, *.png, ... in every class folder")
    return found


def _place(folder: str) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _walk(
    folder: str, folders: list[tuple[str, list[str]]], left_out: Counter[str], above: tuple[tuple[int, int], ...]
) -> None:
    """Append (path, names of image files) for `folder` and all below it. `above`: device and inode of its parents."""
    try:
        own = _place(folder)
        with os.scandir(folder) as scanned:
            entries = list(scanned)
    except OSError as error:
        raise DataError(f"folder {folder} cannot be read: {error.strerror}") from error
    if own in above:
        raise DataError(f"folder {folder} leads back to a folder that contains it. Remove the link")
    files: list[str] = []
    for entry in entries:
        if entry.name.startswith("."):
            left_out["hidden"] += 1
        elif (entry.is_symlink() and os.path.isdir(entry.path)) or entry.is_dir(follow_symlinks=False):
            _walk(entry.path, folders, left_out, (*above, own))
        elif entry.name.lower().endswith(EXTENSIONS):
            files.append(entry.name)
        else:
            left_out[f"*{os.path.splitext(entry.name)[1]}"] += 1
    folders.append((folder, files))
