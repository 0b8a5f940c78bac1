"""Images whose pixels have classes, and random changes to images and masks together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

IGNORED = 255
"""The class of a pixel that does not count, in training and in figures."""


class Masks(Dataset[tuple[Tensor, Tensor]]):
    """Images with masks in memory: `images` (N, C, H, W) uint8, `masks` (N, H, W) uint8, class indices or IGNORED."""

    def __init__(self, images: Tensor, masks: Tensor) -> None:
        self.images = images
        self.masks = masks

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.masks[index]


@dataclass(frozen=True)
class FlipScale:
    """Enlarge each image by up to `scale` and cut the original size at a random place; flip at even odds.

    Images are interpolated, masks take the nearest pixel.
    """

    scale: float = 1.5

    def together(self, images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) and (N, H, W) -> the same shapes and dtypes, every image changed by draws of its own."""
        count = len(images)
        factor = 1 + (self.scale - 1) * torch.rand(count, generator=generator)
        place = 2 * torch.rand(2, count, generator=generator) - 1
        mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
        room = 1 - 1 / factor
        theta = torch.zeros(count, 2, 3)
        theta[:, 0, 0], theta[:, 1, 1] = mirror / factor, 1 / factor
        theta[:, 0, 2], theta[:, 1, 2] = place[0] * room, place[1] * room
        grid = functional.affine_grid(theta, [count, 1, *images.shape[-2:]], align_corners=False)
        drawn = functional.grid_sample(images.float(), grid, "bilinear", "border", align_corners=False)
        moved = functional.grid_sample(masks[:, None].float(), grid, "nearest", "border", align_corners=False)
        changed = drawn if images.is_floating_point() else drawn.round_().clamp_(0, 255)
        return changed.to(images.dtype), moved[:, 0].to(masks.dtype)
