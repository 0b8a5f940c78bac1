"""An item of a data set -> image tensor and label. What is wrong with an item is said in one line."""

from __future__ import annotations

import os
import traceback
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Subset
from torchvision.transforms.v2 import functional

from drbench.data.decode import to_rgb
from drbench.errors import DrbenchError, InputError

CHANNELS = (1, 3, 4)
"""Usual numbers of channels. They distinguish an image (H, W, C) from one (C, H, W)."""

MAX_CLASSES = 10_000_000
"""A label from here on is taken for an identifier: the largest public data sets have some millions of classes."""


def as_item(item: Any) -> tuple[Tensor, int]:
    """Image (C, H, W), uint8 or float, and label of an item (image, label). InputError says what else it is."""
    if not isinstance(item, tuple | list) or len(item) != 2:
        kind = type(item).__name__
        if isinstance(item, tuple | list):
            kind = f"{kind} of {len(item)}"
        elif isinstance(item, dict):
            kind = f"dict with the keys {', '.join(map(repr, list(item)[:5]))}"
        raise InputError(f"got a {kind}; expected a pair (image, label)")
    image, label = item
    return as_image(image), as_label(label)


def as_image(image: Any) -> Tensor:
    """(C, H, W), uint8 or float, on the CPU, of such a tensor or a PIL image. InputError where it is something else."""
    pixels = as_tensor(image)
    got = f"image is a {str(pixels.dtype).removeprefix('torch.')} tensor of shape {tuple(pixels.shape)}"
    if pixels.dim() == 3 and pixels.shape[2] in CHANNELS and pixels.shape[0] not in CHANNELS:
        raise InputError(f"{got}, which looks like (H, W, C); expected (C, H, W). Use image.permute(2, 0, 1)")
    if pixels.dim() != 3 or not pixels.numel() or not (pixels.is_floating_point() or pixels.dtype == torch.uint8):
        raise InputError(f"{got}; expected (C, H, W), uint8 or float in [0, 1]")
    if pixels.is_floating_point() and not bool(pixels.isfinite().all()):
        raise InputError("image holds NaN or infinite values; expected floats in [0, 1]")
    return pixels


def as_tensor(image: Any) -> Tensor:
    """A tensor as it is, without gradient and on the CPU; (3, H, W) uint8 of a PIL image. InputError otherwise."""
    if isinstance(image, Tensor):
        pixels = image.detach().cpu()
        return pixels.float() if pixels.dtype == torch.bfloat16 else pixels  # numpy has no bfloat16
    if isinstance(image, Image.Image):
        found: Tensor = functional.pil_to_tensor(to_rgb(image))
        return found
    raise InputError(
        f"image is a {type(image).__module__}.{type(image).__name__}; expected a torch tensor (C, H, W) or a PIL image"
    )


def as_label(label: Any) -> int:
    """A class index as an int. InputError for anything else: floats, one-hot vectors, text, numbers below 0."""
    if isinstance(label, Tensor):
        label = label.detach().cpu().numpy()
    if isinstance(label, bool | int | np.bool_ | np.integer):
        if not 0 <= label < MAX_CLASSES:
            raise InputError(f"label is {str(int(label))[:40]}; expected a class index from 0 to {MAX_CLASSES - 1}")
        return int(label)
    if isinstance(label, np.ndarray):
        if label.size == 1 and label.dtype.kind in "bui":
            return as_label(label.item())
        if label.size != 1:
            hint = "For one-hot labels return label.argmax()" if label.ndim == 1 else "One label per image is needed"
            raise InputError(f"label has shape {label.shape}; expected a class index, one whole number. {hint}")
        label = label.item()
    shown = repr(label) if isinstance(label, float | str) else type(label).__name__
    hint = ". For classes stored as floats return int(label)" if isinstance(label, float) else ""
    raise InputError(f"label is {shown[:60]}; expected a class index, a whole number from 0{hint}")


def origin(dataset: Any, index: int) -> int:
    """The index in the data set that `dataset` was taken from, through any number of Subsets."""
    while isinstance(dataset, Subset):
        dataset, index = dataset.dataset, int(dataset.indices[index])
    return index


def problem(error: BaseException) -> str:
    """One line on an error that a data set's code raised, with the place in it; drbench's own errors as they are."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # the text of an error class of the user's own
        text = ""
    if isinstance(error, DrbenchError):
        return text
    place = ""
    if frames := traceback.extract_tb(error.__traceback__):
        place = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})"
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"
