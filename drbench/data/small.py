"""CIFAR-10, CIFAR-100 and Fashion-MNIST through torchvision, kept in memory as uint8.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. H. Xiao, K. Rasul, R. Vollgraf,
"Fashion-MNIST", 2017, arXiv 1708.07747. Both CIFARs: 50,000 + 10,000 images, 32x32 RGB; Fashion-MNIST: 60,000 + 10,000,
28x28 grey, here padded to 32x32 and repeated over three channels, as the networks want them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torchvision import datasets
from torchvision.datasets.utils import check_integrity

from drbench import paths
from drbench.data.augment import ShiftFlip, check_augment
from drbench.data.preprocess import describe, override
from drbench.data.splits import Images, Splits, array_digest, hold_out
from drbench.errors import FailedError, InputError

CIFAR10_STATISTICS = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CIFAR100_STATISTICS = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
FASHION_STATISTICS = (0.2860,) * 3, (0.3530,) * 3
FASHION_FILES = {
    "train-images-idx3-ubyte": 47040016,
    "train-labels-idx1-ubyte": 60008,
    "t10k-images-idx3-ubyte": 7840016,
    "t10k-labels-idx1-ubyte": 10008,
}
SIZE = 32


def _open(
    name: str,
    source: type[Any],
    folder: str,
    statistics: tuple[tuple[float, ...], tuple[float, ...]],
    *,
    root: str | None = None,
    download: bool = False,
    val_fraction: float = 0.1,
    augment: str = "standard",
    input_size: int | None = None,
    preprocessing: dict[str, Any] | None = None,
) -> Splits:
    """The data set below `root`, where torchvision puts it; `download` fetches it where it is missing.

    Augmented by shifts of up to 4 px and mirroring. InputError for files that are missing or not as published.
    """
    check_augment(augment)
    if root is None:
        raise InputError(f"data set {name!r} needs --data-root DIR: its files are expected in DIR/{folder}")
    base = paths.expanded(root, "--data-root")
    with _plainly(name, source, base, folder, download):
        if not download and not paths.is_directory(base / folder, "--data-root"):
            raise RuntimeError("missing")
        train, test = (source(str(base), train=part, download=download) for part in (True, False))
    parts = [(_pixels(part), np.asarray(part.targets, dtype=np.int64)) for part in (train, test)]
    for part, (pixels, labels) in zip(("train", "test"), parts, strict=True):
        if len(pixels) != len(labels):
            raise InputError(f"data set {name!r} in {base}: {part} has {len(pixels)} images and {len(labels)} labels")
    (pixels, labels), (test_pixels, test_labels) = parts
    kept, held = hold_out(labels, val_fraction)
    images, targets = _tensor(pixels), torch.from_numpy(labels)
    prepared = override(describe(input_size or SIZE, *statistics), preprocessing)
    return Splits(
        name=name,
        train=Images(images[kept], targets[kept]),
        val=Images(images[held], targets[held]) if held else None,
        test=Images(_tensor(test_pixels), torch.from_numpy(test_labels)),
        classes=tuple(train.classes),
        input_shape=(3, *prepared["input_size"]),
        preprocessing=prepared,
        digest=array_digest(pixels, labels, test_pixels, test_labels),
        val_indices=tuple(held),
        augment=None if augment == "none" else ShiftFlip(),
    )


cifar10 = partial(_open, "cifar10", datasets.CIFAR10, "cifar-10-batches-py", CIFAR10_STATISTICS)
cifar100 = partial(_open, "cifar100", datasets.CIFAR100, "cifar-100-python", CIFAR100_STATISTICS)
fashion_mnist = partial(_open, "fashion-mnist", datasets.FashionMNIST, "FashionMNIST/raw", FASHION_STATISTICS)


def _pixels(part: Any) -> Any:
    """(N, H, W, 3) or (N, H, W) uint8, as torchvision holds it."""
    return np.asarray(part.data)


def _tensor(pixels: Any) -> torch.Tensor:
    """(N, 3, 32, 32) uint8. Grey images are repeated over the channels as a view, which costs no memory."""
    images = torch.from_numpy(pixels)
    if images.dim() == 4:
        return images.permute(0, 3, 1, 2).contiguous()
    margin = (SIZE - images.shape[-1]) // 2
    return functional.pad(images, (margin,) * 4).unsqueeze(1).expand(-1, 3, -1, -1)


@contextmanager
def _plainly(name: str, source: type[Any], root: Path, folder: str, download: bool) -> Iterator[None]:
    """Turn what torchvision raises for files that are missing, damaged or unreachable into one clear line.

    CIFAR's files are pickles: torchvision compares all of them with the published checksums before it loads the first.
    """
    try:
        yield
    except InputError:
        raise
    except (RuntimeError, ValueError, AssertionError, EOFError, UnpicklingError, KeyError) as error:
        raise InputError(f"{_trouble(name, source, root, folder)}; --download fetches it") from error
    except OSError as error:  # also what urllib raises without a network
        if download:
            raise FailedError(f"data set {name!r} could not be fetched into {root}: {error}") from error
        raise InputError(f"data set {name!r} cannot be read: {error}") from error


def _trouble(name: str, source: type[Any], root: Path, folder: str) -> str:
    """What is wrong with which file."""
    expected: list[tuple[str, Callable[[Path], bool], str]]
    if hasattr(source, "train_list"):
        files = [*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])]
        expected = [(file, partial(check_integrity, md5=md5), "of the published checksum") for file, md5 in files]
    else:
        expected = [
            (file, lambda path, size=size: path.stat().st_size == size, f"of {size} bytes")  # type: ignore[misc]
            for file, size in FASHION_FILES.items()
        ]
    for file, sound, how in expected:
        path = root / folder / file
        if not path.is_file():
            return f"data set {name!r} is not in {root}: there is no {path}"
        if not sound(path):
            return f"data set {name!r} is damaged: {path} has {path.stat().st_size} bytes and is not the file {how}"
    return f"data set {name!r} in {root / folder} cannot be read"
