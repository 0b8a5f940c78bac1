"""The layouts of image folders: root/train/CLASS/* and root/val/CLASS/*; of people, root/verify/. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from drbench import paths
from drbench.errors import InputError

IMAGEFOLDER_SIZE = 224
"""Side of the square an image folder's images are cropped to, in pixels, unless `input_size` says otherwise."""


FACE_SIZE = 112
"""The same of a folder of people."""
PARTS: Mapping[str, tuple[str, str]] = {"imagefolder": ("train", "val"), "faces": ("train", "verify")}
"""Data set -> the folders that its root has to hold."""


def folder_root(root: str | None, name: str = "imagefolder") -> Path:
    """The folder of an image folder data set. InputError unless it holds the folders of PARTS."""
    (train, test), of = PARTS[name], "PERSON" if name == "faces" else "CLASS"
    if root is None:
        raise InputError(f"data set {name!r} needs --data-root DIR, a folder with {train}/{of}/* and {test}/{of}/*")
    base = paths.expanded(root, "--data-root")
    for part in (train, test):
        if not paths.is_directory(base / part, "--data-root"):
            raise InputError(
                f"no image folder in {base}: expected {base / part}/{of}/*.jpg ({train}/ and {test}/ side by side)"
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
