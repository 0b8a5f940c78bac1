"""Random changes to whole batches of training images, every image with draws of its own.

torchvision's v2 transforms draw one set of parameters per call, so on a batch they would shift and flip all images
alike; called per image they cost about ten times what is written here, where one gather crops a whole batch (45,000
images of 32 px well under a second on one core). Images of a folder, which are decoded one by one anyway, do go
through v2 (see `preprocess.folder_transform`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional

from drbench.errors import unknown
from drbench.records import Augmentation

AUGMENTS = get_args(Augmentation)
"""standard: what is usual for the data set. CIFAR: shifts by up to 4 px and flips; folders: random crops and flips."""


def check_augment(name: str) -> str:
    """`name`, or InputError."""
    if name not in AUGMENTS:
        raise unknown("augment", name, AUGMENTS)
    return name


@dataclass(frozen=True)
class ShiftFlip:
    """Pad by `padding` px of zeros, cut the original size at a random place; then flip left to right at even odds."""

    padding: int = 4
    flip: bool = True

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """(N, C, H, W) -> the same shape and dtype."""
        count, _, height, width = images.shape
        if self.padding:
            top, left = torch.randint(2 * self.padding + 1, (2, count), generator=generator)
            padded = functional.pad(images, (self.padding,) * 4)
            windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (N, C, tops, lefts, H, W)
            images = windows[torch.arange(count), :, top, left]
        if self.flip:
            mirrored = torch.rand(count, generator=generator) < 0.5
            images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
        return images
