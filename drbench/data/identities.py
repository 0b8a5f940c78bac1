"""The embedded data set of identities: drawn figures, each seen many times in other poses, light and surroundings.

Synthetic, made to try face recognition out in seconds without a download; no evidence for any operator.

An identity is a figure of some parts: their kinds, places, sizes and colours. Every image turns, stretches and shifts
the figure, changes brightness, contrast and the direction of the light, draws a stranger's part over it, and puts it on
another background with noise. Identities of the test part do not occur in training.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from drbench import bounds
from drbench.data.arguments import shares, whole_numbers
from drbench.data.augment import ShiftFlip, check_augment
from drbench.data.preprocess import describe, override
from drbench.data.shapes import KINDS, LARGEST, MOST, PIXELS
from drbench.data.splits import Images, Splits, array_digest, hold_out_people
from drbench.data.verification import Protocol, draw_pairs
from drbench.errors import InputError

PARTS = 6
"""Of a figure."""
MEAN, STD = (0.4, 0.4, 0.4), (0.25, 0.25, 0.25)


class Faces(Images):
    """Images in memory of people, and what is asked about them."""

    def __init__(self, images: torch.Tensor, protocol: Protocol) -> None:
        super().__init__(images, torch.from_numpy(protocol.people))
        self.protocol = protocol


def identities(
    *,
    people: int = 60,
    test_people: int = 30,
    images: int = 20,
    pairs: int = 1000,
    distractors: int = 100,
    size: int = 64,
    seed: int = 0,
    noise: float = 0.15,
    val_fraction: float = 0.1,
    augment: str = "standard",
    input_size: int | None = None,
    preprocessing: dict[str, Any] | None = None,
) -> Splits:
    """`images` images of `size` px of each of `people` identities to train on, and of `test_people` others.

    The test part has `pairs` pairs in folds without common people, and `distractors` further people of one image each.
    Whole people are held out for validation. Training images are mirrored and shifted by up to 2 px.
    """
    whole_numbers(
        "identities",
        ("people", people, 4, MOST),
        ("test_people", test_people, 2, MOST),
        ("images", images, 2, MOST),
        ("pairs", pairs, 20, MOST),
        ("distractors", distractors, 0, MOST),
        ("size", size, 16, LARGEST),
        ("seed", seed, 0, bounds.INTEGER),
    )
    total = (people + test_people) * images + distractors
    if total * size**2 > PIXELS:
        raise InputError(
            f"data set 'identities': got {total} images of {size} px; expected at most {PIXELS} pixels in all, for "
            "they are drawn in memory. Lower people, images or size"
        )
    shares("identities", noise=noise)
    counts = (images,) * (people + test_people) + (1,) * distractors
    pixels, labels = draw(counts, size, seed, noise)
    of_train = people * images
    kept, held = hold_out_people(labels[:of_train], val_fraction)
    drawn = torch.tensor(pixels)  # a copy: the drawn array is shared by a cache
    classes, targets = np.unique(labels[kept], return_inverse=True)
    _, held_people = np.unique(labels[held], return_inverse=True)
    tested = labels[of_train:] - people
    apart = np.arange(test_people * images, len(tested))
    prepared = override(describe(input_size or size, MEAN, STD), preprocessing)
    return Splits(
        name="identities",
        train=Images(drawn[kept], torch.from_numpy(targets)),
        val=Faces(drawn[held], draw_pairs(held_people, pairs // 2)) if held else None,
        test=Faces(drawn[of_train:], draw_pairs(tested, pairs, apart)),
        classes=tuple(f"identity-{number:03d}" for number in classes),
        input_shape=(3, *prepared["input_size"]),
        preprocessing=prepared,
        digest=array_digest(pixels, labels, np.array([people, test_people, pairs])),
        synthetic=True,
        val_indices=tuple(held),
        augment=None if check_augment(augment) == "none" else ShiftFlip(padding=2),
        targets="people",
    )


@lru_cache(maxsize=2)
def draw(
    counts: tuple[int, ...], size: int, seed: int, noise: float
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images (N, 3, size, size) uint8 and identities (N,) int64, `counts` images of each in order.

    Equal arguments give equal images on every machine: all randomness is PCG64's doubles.
    """
    random = np.random.Generator(np.random.PCG64(seed)).random
    labels = np.repeat(np.arange(len(counts)), counts)
    kinds, places = (random((len(counts), PARTS)) * len(KINDS)).astype(np.int64), random((len(counts), PARTS, 2))
    radii, colours = 0.18 + 0.22 * random((len(counts), PARTS)), random((len(counts), PARTS, 3))
    total = len(labels)
    images = np.empty((total, 3, size, size), np.uint8)
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    for number, identity in enumerate(labels):
        x, y = _pose(random(6), axis)
        canvas = np.broadcast_to(random(3)[:, None, None], (3, size, size)).copy()
        canvas += 0.3 * (random(2) - 0.5)[0] * axis[None, None, :] + 0.3 * (random(2) - 0.5)[1] * axis[None, :, None]
        for part in range(PARTS):
            centre = 1.3 * places[identity, part] - 0.65
            inside = _inside(int(kinds[identity, part]), x - centre[0], y - centre[1], radii[identity, part])
            canvas[:, inside] = colours[identity, part][:, None]
        stranger = random(7)
        over = _inside(int(stranger[0] * len(KINDS)), x - 2 * stranger[1] + 1, y - 2 * stranger[2] + 1, 0.15)
        canvas[:, over] = stranger[4:, None]
        light = random(4)
        shade = 0.25 * (np.cos(6.3 * light[0]) * axis[None, :] + np.sin(6.3 * light[0]) * axis[:, None])
        canvas = (canvas - 0.5) * (0.6 + 0.6 * light[1]) + 0.5 + 0.3 * (light[2] - 0.5) + shade
        canvas += noise * (2 * random((3, size, size)) - 1)
        images[number] = (np.clip(canvas, 0, 1) * 255).astype(np.uint8)
    return images, labels


def _pose(drawn: npt.NDArray[np.float64], axis: npt.NDArray[np.float64]) -> tuple[Any, Any]:
    """The coordinates of all pixels in the frame of the figure: turned, stretched, slanted and shifted."""
    angle = 0.7 * (drawn[0] - 0.5)
    stretch, slant = 0.85 + 0.35 * drawn[1:3], 0.3 * (drawn[3] - 0.5)
    right, down = axis[None, :] - 0.4 * (drawn[4] - 0.5), axis[:, None] - 0.4 * (drawn[5] - 0.5)
    x = (np.cos(angle) * right + np.sin(angle) * down) / stretch[0]
    y = (np.cos(angle) * down - np.sin(angle) * right) / stretch[1]
    return x + slant * y, y


def _inside(kind: int, x: Any, y: Any, radius: float) -> npt.NDArray[np.bool_]:
    test = tuple(KINDS.values())[kind]
    return test((x / radius).astype(np.float32), (y / radius).astype(np.float32))
