"""Training presets by name, and the check of their values. Imports no torch."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from drbench.errors import InputError, unknown
from drbench.figures import DEFAULT
from drbench.records import TrainSettings

PRESETS: Mapping[str, TrainSettings] = {
    # The demo: a few epochs on `shapes`; shows that all works, not which network is better.
    "quick": TrainSettings(preset="quick", epochs=5, batch_size=32, learning_rate=0.05, warmup_epochs=1.0),
    # CIFAR-size images, competitive: what is usual for convolutional networks there.
    "standard": TrainSettings(preset="standard", epochs=200, batch_size=128, learning_rate=0.1, warmup_epochs=1.0),
    # ImageNet as ShuffleNetV2 was trained (300,000 steps of 1,024 images; Ma et al., 2018, arXiv 1807.11164), which the
    # DRConv paper follows.
    "paper": TrainSettings(
        preset="paper",
        epochs=240,
        batch_size=1024,
        learning_rate=0.5,
        weight_decay=4e-5,
        nesterov=False,
        schedule="linear",
        warmup_epochs=0.0,
        label_smoothing=0.1,
        loader_workers=16,
    ),
}

OF_TASKS: Mapping[str, Mapping[str, TrainSettings]] = {
    "verify": {
        # The demo, on `identities`.
        "quick": TrainSettings(preset="quick", epochs=8, batch_size=32, learning_rate=0.05),
        # Some hundred people with some ten images each, such as the development split of LFW: a small scale and margin,
        # because s = 64 and m = 0.5 do not start to learn there.
        "standard": TrainSettings(preset="standard", epochs=40, batch_size=64, learning_rate=0.1, scale=24, margin=0.3),
        # Millions of images, as MobileFaceNet was trained (60,000 steps of 512 images of the refined MS-Celeb-1M, with
        # ArcFace; Chen et al., 2018, arXiv 1804.07573), but with a cosine in place of three steps of the learning rate.
        "paper": TrainSettings(
            preset="paper",
            epochs=8,
            batch_size=512,
            learning_rate=0.1,
            weight_decay=4e-5,
            nesterov=False,
            warmup_epochs=0.0,
            loader_workers=16,
            criterion="arcface",
            scale=64,
            margin=0.5,
        ),
    },
    "segment": {
        # The demo, on `scenes`.
        "quick": TrainSettings(preset="quick", epochs=25, batch_size=16, learning_rate=0.1),
        # Some hundred images, such as CamVid, from scratch.
        "standard": TrainSettings(preset="standard", epochs=200, batch_size=16, learning_rate=0.05),
        # As torchvision trains its LR-ASPP on COCO (references/segmentation), but with a line in place of a polynomial.
        "paper": TrainSettings(
            preset="paper",
            epochs=30,
            batch_size=32,
            learning_rate=0.02,
            weight_decay=1e-4,
            nesterov=False,
            schedule="linear",
            warmup_epochs=0.0,
            loader_workers=16,
        ),
    },
}
"""Task -> its presets, where they are not those of classification."""

_WORDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def preset(name: str, overrides: Mapping[str, Any] | None = None, task: str = DEFAULT) -> TrainSettings:
    """The task's preset, with single fields replaced.

    InputError for an unknown preset or field, or a value out of range.
    """
    presets = OF_TASKS.get(task, PRESETS)
    if name not in presets:
        raise unknown("preset", name, presets)
    known = {field.name for field in fields(TrainSettings)} - {"preset"}
    for field in overrides or {}:
        if field not in known:
            raise unknown("training setting", field, known)
    settings = replace(presets[name], **(overrides or {}))
    check_settings(settings)
    return settings


def check_settings(settings: TrainSettings) -> None:
    """InputError for the first field whose value its declaration in `drbench.records` does not allow."""
    hints = get_type_hints(TrainSettings)
    for field in fields(TrainSettings):
        value = getattr(settings, field.name)
        if not _allowed(value, hints[field.name], field.metadata):
            raise InputError(f"{field.name}: got {value!r}; expected {in_words(hints[field.name], field.metadata)}")
    if settings.nesterov and settings.optimizer == "sgd" and settings.momentum == 0:
        raise InputError("momentum: got 0; expected a number above 0 with nesterov. Set momentum, or nesterov to false")


def _allowed(value: Any, hint: Any, limits: Mapping[str, Any]) -> bool:
    """Whether a value has the type of a field and is within its limits."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    kinds = get_args(hint) or (hint,)
    if float in kinds:
        kinds = (*kinds, int)
    if (isinstance(value, bool) and bool not in kinds) or not isinstance(value, kinds):
        return False
    if value is None or isinstance(value, str | bool):
        return True
    return math.isfinite(value) and all(getattr(operator, name)(value, limit) for name, limit in limits.items())


def in_words(hint: Any, limits: Mapping[str, Any]) -> str:
    """The values that a field of this type and these limits may have, in words.

    >>> in_words(int, {"gt": 0, "le": 4096}), in_words(float | None, {"gt": 0, "lt": 1})
    ('an integer above 0 and at most 4,096', 'a number above 0 and below 1, or None')
    """
    if get_origin(hint) is Literal:
        *others, last = map(repr, get_args(hint))
        return f"{', '.join(others)} or {last}"
    kinds = get_args(hint) or (hint,)
    names = {int: "an integer", float: "a number", bool: "True or False", str: "text"}
    name = next(text for kind, text in names.items() if kind in kinds)
    words = " and ".join(f"{_WORDS[key]} {limit:,}" for key, limit in limits.items())
    return f"{name} {words}".strip() + (", or None" if type(None) in kinds else "")
