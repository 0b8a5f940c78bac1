"""From a decoded image to a network's input, the same for training, validation, test and saved weights.

A preprocessing is a plain dict, written into the header of saved weights and applied again on `--eval-only`:

    input_size  [H, W] of the network's input, in pixels
    resize      short side an image of a folder is resized to before the centre crop; None: resized to input_size itself
    mean, std   per channel, of values in [0, 1]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from drbench import bounds
from drbench.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CROP_FRACTION = 0.875
"""Centre crop over resized short side: 224 of 256, as the networks' papers evaluate."""


def describe(input_size: int, mean: Sequence[float], std: Sequence[float], resize: int | None = None) -> dict[str, Any]:
    """The dict described above, for square inputs."""
    return {"input_size": [input_size, input_size], "resize": resize, "mean": list(mean), "std": list(std)}


def override(own: dict[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """`own`, with what `given` (the header of saved weights) says instead. InputError for what is no preprocessing."""
    strange = sorted(set(given or {}) - set(own))
    if strange:
        raise InputError(f"preprocessing: got {', '.join(strange)}; expected {', '.join(sorted(own))}")
    return check_preprocessing({**own, **(given or {})}, len(own["mean"]))


def check_preprocessing(found: Mapping[str, Any], channels: int) -> dict[str, Any]:
    """`found` as a dict. InputError for a key that is missing, and for a value that means nothing."""
    allowed: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "input_size": ("[H, W] in pixels", lambda value: _is_list(value, 2) and all(map(_is_side, value))),
        "resize": ("pixels, or none", lambda value: value is None or _is_side(value)),
        "mean": (f"{channels} numbers", lambda value: _is_list(value, channels) and all(map(_is_number, value))),
        "std": (
            f"{channels} numbers above 0",
            lambda value: _is_list(value, channels) and all(_is_number(one) and one > 0 for one in value),
        ),
    }
    for key, (expected, good) in allowed.items():
        if key not in found or not good(found[key]):
            raise InputError(f"preprocessing {key}: got {found.get(key)!r:.80}; expected {expected}")
    return dict(found)


def _is_list(value: Any, length: int) -> bool:
    return isinstance(value, list | tuple) and len(value) == length


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= bounds.SIDE


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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
