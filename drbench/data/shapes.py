"""The embedded data set: drawn figures on noise; the class of a figure depends on its position.

Synthetic, made to try the benchmark out in seconds without a download; no evidence for any operator.

One large figure of five kinds is in one of the four quadrants; the class is its kind and whether it is in the upper
or the lower half. So neither the figure alone nor the place alone tells more than part of it. Small figures of random
kinds in the other quadrants, contrasts down to a twentieth of full scale, and noise stand in the way.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from drbench import bounds
from drbench.data.arguments import shares, whole_numbers
from drbench.data.augment import ShiftFlip, check_augment
from drbench.data.preprocess import describe, override
from drbench.data.splits import Images, Splits, array_digest, hold_out
from drbench.errors import InputError

Array = npt.NDArray[np.float32]

# Inside tests in units of the figure's radius: x to the right, y downwards, both 0 in its centre.
KINDS: dict[str, Callable[[Array, Array], npt.NDArray[np.bool_]]] = {
    "disc": lambda x, y: x * x + y * y <= 1.0,
    "ring": lambda x, y: (x * x + y * y <= 1.0) & (x * x + y * y >= 0.3),
    "square": lambda x, y: np.maximum(abs(x), abs(y)) <= 0.85,
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) <= 0.3) & (np.maximum(abs(x), abs(y)) <= 1.0),
    "triangle": lambda x, y: (y <= 0.8) & (2.0 * abs(x) <= y + 1.1),
}
MOST, LARGEST, PIXELS = 1_000_000, 1024, 2**28
"""Images of a part, their side, and pixels of all: each takes 24 bytes while they are drawn."""
CLASSES = tuple(f"{kind}-{half}" for kind in KINDS for half in ("above", "below"))
MEAN, STD = (0.3, 0.3, 0.3), (0.2, 0.2, 0.2)


def shapes(
    *,
    train: int = 2000,
    test: int = 500,
    size: int = 32,
    seed: int = 0,
    noise: float = 0.2,
    val_fraction: float = 0.1,
    augment: str = "standard",
    input_size: int | None = None,
    preprocessing: dict[str, Any] | None = None,
) -> Splits:
    """`train` and `test` images of `size` px. `noise` is the half width of the uniform noise on values in [0, 1].

    Augmented by shifts of up to 2 px; never turned or mirrored, for position matters.
    """
    whole_numbers(
        "shapes",
        ("train", train, 20, MOST),
        ("test", test, 10, MOST),
        ("size", size, 16, LARGEST),
        ("seed", seed, 0, bounds.INTEGER),
    )
    if (train + test) * size**2 > PIXELS:
        raise InputError(
            f"data set 'shapes': got {train + test} images of {size} px; expected at most {PIXELS} pixels in all, for "
            "they are drawn in memory. Lower train, test or size"
        )
    shares("shapes", noise=noise)
    images, labels = draw(train + test, size, seed, noise)
    kept, held = hold_out(labels[:train], val_fraction)
    pixels, targets = torch.tensor(images), torch.tensor(labels)  # copies: the drawn arrays are shared by a cache
    shown = input_size or size
    prepared = override(describe(shown, MEAN, STD), preprocessing)
    return Splits(
        name="shapes",
        train=Images(pixels[kept], targets[kept]),
        val=Images(pixels[held], targets[held]) if held else None,
        test=Images(pixels[train:], targets[train:]),
        classes=CLASSES,
        input_shape=(3, *prepared["input_size"]),
        preprocessing=prepared,
        digest=array_digest(images, labels, np.array([train])),
        synthetic=True,
        val_indices=tuple(held),
        augment=None if check_augment(augment) == "none" else ShiftFlip(padding=2, flip=False),
    )


@lru_cache(maxsize=2)
def draw(count: int, size: int, seed: int, noise: float) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images (N, 3, size, size) uint8 and labels (N,) int64; equal arguments give equal images on every machine.

    All randomness is PCG64's doubles, which numpy keeps the same from release to release.
    """
    random = np.random.Generator(np.random.PCG64(seed)).random
    labels = (random(count) * len(CLASSES)).astype(np.int64)
    kind, below = labels // 2, labels % 2
    right = (random(count) < 0.5).astype(np.int64)
    background = 0.1 + 0.35 * random((count, 3, 1, 1))
    images = background + np.zeros((count, 3, size, size))
    half = size / 2
    for column in (0, 1):
        for row in (0, 1):
            large = (right == column) & (below == row)
            kinds = np.where(large, kind, (random(count) * len(KINDS)).astype(np.int64))
            radius = size * np.where(large, 0.15 + 0.07 * random(count), 0.06 + 0.03 * random(count))
            room = half - 2 * radius  # how far the centre may move and the figure stay in its quadrant
            x0 = column * half + radius + room * random(count)
            y0 = row * half + radius + room * random(count)
            contrast = 0.05 + 0.35 * random((count, 3, 1, 1))
            inside = _figures(kinds, x0, y0, radius, size)
            images = np.where(inside[:, None], background + contrast, images)
    images += noise * (2 * random((count, 3, size, size)) - 1)
    pixels = (np.clip(images, 0, 1) * 255).astype(np.uint8)
    return pixels, labels


def _figures(
    kinds: npt.NDArray[np.int64], x0: npt.NDArray[Any], y0: npt.NDArray[Any], radius: npt.NDArray[Any], size: int
) -> npt.NDArray[np.bool_]:
    """(N, size, size): which pixels lie inside the figure of every image."""
    centres = np.arange(size, dtype=np.float32) + 0.5
    x = ((centres - x0[:, None]) / radius[:, None]).astype(np.float32)[:, None, :]
    y = ((centres - y0[:, None]) / radius[:, None]).astype(np.float32)[:, :, None]
    inside = np.zeros((len(kinds), size, size), dtype=bool)
    for number, test in enumerate(KINDS.values()):
        of = kinds == number
        inside[of] = test(x[of], y[of])
    return inside
