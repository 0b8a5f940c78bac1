"""From a decoded image to a network's input, the same for training, validation, test and saved weights.

A preprocessing is a plain dict, written into the header of saved weights and applied again on `--eval-only`:

    input_size  [H, W] of the network's input, in pixels
    resize      short side an image of a folder is resized to before the centre crop; None: resized to input_size itself
    mean, std   per channel, of values in [0, 1]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from drbench.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CROP_FRACTION = 0.875
"""Centre crop over resized short side: 224 of 256, as the networks' papers evaluate."""


def describe(input_size: int, mean: Sequence[float], std: Sequence[float], resize: int | None = None) -> dict[str, Any]:
    """The dict described above, for square inputs."""
    return {"input_size": [input_size, input_size], "resize": resize, "mean": list(mean), "std": list(std)}


def override(own: dict[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """`own`, with what `given` (the header of saved weights) says instead. InputError for a key it does not know."""
    strange = sorted(set(given or {}) - set(own))
    if strange:
        raise InputError(f"unknown preprocessing {', '.join(strange)}: allowed are {', '.join(sorted(own))}")
    return {**own, **(given or {})}


class Prepare:
    """Batches of images (N, C, H, W), uint8 or float in [0, 1], to float32 of zero mean and unit variance on `device`.

    The batch moves before it grows to float: a quarter of the bytes for images kept as uint8.
    """

    def __init__(self, preprocessing: Mapping[str, Any], device: torch.device) -> None:
        self.device = device
        self.size = list(preprocessing["input_size"])
        mean = torch.tensor(preprocessing["mean"], dtype=torch.float64)
        std = torch.tensor(preprocessing["std"], dtype=torch.float64)
        self.scale = (1 / std).float().view(1, -1, 1, 1).to(device)
        self.shift = (-mean / std).float().view(1, -1, 1, 1).to(device)

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, H, W), in memory format channels_last."""
        images = images.to(self.device, non_blocking=True)
        if list(images.shape[-2:]) != self.size:
            images = functional.resize(images, self.size, antialias=True)
        scale = self.scale if images.is_floating_point() else self.scale / 255
        images = images.to(torch.float32, memory_format=torch.channels_last, copy=True)
        return images.mul_(scale).add_(self.shift)


def folder_transform(preprocessing: Mapping[str, Any], augment: str) -> v2.Transform:
    """PIL image -> uint8 (3, H, W), for images of all sizes. `augment` "none" is the transform of evaluation."""
    size = list(preprocessing["input_size"])
    steps: list[Any] = [v2.RGB(), v2.PILToTensor()]
    if augment == "none":
        resize = preprocessing["resize"]
        steps += [v2.Resize(resize, antialias=True), v2.CenterCrop(size)] if resize else [v2.Resize(size)]
    else:
        steps += [v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip()]
    return v2.Compose(steps)
