"""The embedded data set of scenes: several drawn figures on a background, each pixel with a class.

Synthetic, made to try segmentation out in seconds without a download; no evidence for any operator.

A scene has up to `objects` figures of five kinds in random places, sizes and colours; later ones cover earlier ones.
The class of a pixel is the kind of the figure that is seen there, or background. Some scenes have no figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from drbench import bounds
from drbench.data.arguments import shares, whole_numbers
from drbench.data.augment import check_augment
from drbench.data.masks import FlipScale, Masks
from drbench.data.preprocess import describe, override
from drbench.data.shapes import KINDS, LARGEST, MOST, PIXELS
from drbench.data.splits import Splits, array_digest, hold_out
from drbench.errors import InputError

CLASSES = ("background", *KINDS)
LEAST_SEEN = 12
"""Pixels of a figure that must be seen; a figure that is covered more than that is left out."""
MEAN, STD = (0.4, 0.4, 0.4), (0.25, 0.25, 0.25)


@dataclass(frozen=True)
class Drawn:
    """Scenes: `images` (N, 3, S, S) uint8; `instances` (N, S, S) uint8, 0 for background and k for the k-th figure;
    `kinds` (N, figures) uint8, the class of each figure, 0 where there is none.
    """

    images: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.uint8]
    kinds: npt.NDArray[np.uint8]

    @property
    def masks(self) -> npt.NDArray[np.uint8]:
        """(N, S, S): the class of every pixel, an index in CLASSES."""
        table = np.concatenate((np.zeros((len(self.kinds), 1), np.uint8), self.kinds), axis=1)
        return table[np.arange(len(table))[:, None, None], self.instances]


def scenes(
    *,
    train: int = 600,
    test: int = 200,
    size: int = 96,
    objects: int = 4,
    empty: float = 0.05,
    seed: int = 0,
    noise: float = 0.15,
    val_fraction: float = 0.1,
    augment: str = "standard",
    input_size: int | None = None,
    preprocessing: dict[str, Any] | None = None,
) -> Splits:
    """`train` and `test` scenes of `size` px with up to `objects` figures; a share `empty` has none.

    `noise` is the half width of the uniform noise on values in [0, 1]. Training scenes are mirrored and enlarged at
    random.
    """
    whole_numbers(
        "scenes",
        ("train", train, 20, MOST),
        ("test", test, 10, MOST),
        ("size", size, 32, LARGEST),
        ("objects", objects, 1, 50),
        ("seed", seed, 0, bounds.INTEGER),
    )
    shares("scenes", noise=noise, empty=empty)
    if (train + test) * size**2 > PIXELS:
        raise InputError(
            f"data set 'scenes': got {train + test} images of {size} px; expected at most {PIXELS} pixels in all, for "
            "they are drawn in memory. Lower train, test or size"
        )
    drawn = draw(train + test, size, objects, empty, seed, noise)
    images, masks = torch.tensor(drawn.images), torch.tensor(drawn.masks)  # copies: the drawn arrays are shared
    kept, held = hold_out(np.zeros(train, np.int64), val_fraction)
    prepared = override(describe(input_size or size, MEAN, STD), preprocessing)
    return Splits(
        name="scenes",
        train=Masks(images[kept], masks[kept]),
        val=Masks(images[held], masks[held]) if held else None,
        test=Masks(images[train:], masks[train:]),
        classes=CLASSES,
        input_shape=(3, *prepared["input_size"]),
        preprocessing=prepared,
        digest=array_digest(drawn.images, drawn.instances, drawn.kinds, np.array([train])),
        synthetic=True,
        val_indices=tuple(held),
        augment=None if check_augment(augment) == "none" else FlipScale(),
        targets="masks",
    )


@lru_cache(maxsize=2)
def draw(count: int, size: int, objects: int, empty: float, seed: int, noise: float) -> Drawn:
    """`count` scenes; equal arguments give equal ones on every machine: all randomness is PCG64's doubles."""
    random = np.random.Generator(np.random.PCG64(seed)).random
    images = np.empty((count, 3, size, size), np.uint8)
    instances = np.zeros((count, size, size), np.uint8)
    kinds = np.zeros((count, objects), np.uint8)
    tests = tuple(KINDS.values())
    axis = np.arange(size) + 0.5
    for number in range(count):
        canvas = np.broadcast_to(0.2 + 0.6 * random(3)[:, None, None], (3, size, size)).copy()
        waves = random(4)  # a texture, so that the background has more than one colour
        canvas += 0.1 * np.sin(axis[None, :] * (0.1 + 0.5 * waves[0]) + 6.3 * waves[1])
        canvas += 0.1 * np.sin(axis[:, None] * (0.1 + 0.5 * waves[2]) + 6.3 * waves[3])
        figures = 0 if random() < empty else 1 + int(random() * objects)
        for figure in range(figures):
            kind, radius = int(random() * len(KINDS)), size * (0.08 + 0.16 * random())
            x0, y0 = size * random(2)
            colour, turn = random(3), 0.6 * (random() - 0.5)
            x, y = (axis[None, :] - x0) / radius, (axis[:, None] - y0) / radius
            turned = (np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x)
            inside = tests[kind](turned[0].astype(np.float32), turned[1].astype(np.float32))
            canvas[:, inside] = colour[:, None]
            instances[number][inside] = figure + 1
            kinds[number, figure] = kind + 1
        _forget_covered(instances[number], kinds[number])
        canvas += noise * (2 * random((3, size, size)) - 1)
        images[number] = (np.clip(canvas, 0, 1) * 255).astype(np.uint8)
    return Drawn(images, instances, kinds)


def _forget_covered(instances: npt.NDArray[np.uint8], kinds: npt.NDArray[np.uint8]) -> None:
    """Take figures of which hardly anything is seen out of the truth, in place. Their pixels become background."""
    seen = np.bincount(instances.ravel(), minlength=len(kinds) + 1)[1:]
    for figure in np.flatnonzero((kinds > 0) & (seen < LEAST_SEEN)):
        kinds[figure] = 0
        instances[instances == figure + 1] = 0
