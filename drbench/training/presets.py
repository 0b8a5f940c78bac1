"""Training recipes by name, and which values their fields may have. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from drbench import bounds
from drbench.errors import InputError, unknown
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

CHOICES: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("sgd", "adamw"),
    "schedule": ("cosine", "linear", "constant"),
    "augment": ("none", "standard"),
    "device": ("auto", "cpu", "cuda", "mps"),
    "precision": ("fp32", "bf16", "fp16"),
}

# name -> (type, least, most, what is allowed)
_RANGES: Mapping[str, tuple[type, float, float, str]] = {
    "epochs": (int, 1, bounds.EPOCHS, f"a whole number from 1 to {bounds.EPOCHS:,}"),
    "batch_size": (int, 1, bounds.BATCH_SIZE, f"a whole number from 1 to {bounds.BATCH_SIZE:,}"),
    "learning_rate": (float, 1e-12, 1e6, "a number above 0"),
    "momentum": (float, 0, 1 - 1e-9, "at least 0 and below 1"),
    "weight_decay": (float, 0, 1e6, "0 or more"),
    "warmup_epochs": (float, 0, 1e9, "0 or more"),
    "label_smoothing": (float, 0, 1 - 1e-9, "at least 0 and below 1"),
    "ema_decay": (float, 1e-12, 1 - 1e-12, "above 0 and below 1, or left out"),
    "grad_clip": (float, 1e-12, 1e12, "above 0, or left out"),
    "threads": (int, 1, bounds.THREADS, f"a whole number from 1 to {bounds.THREADS:,}, or left out"),
    "loader_workers": (int, 0, bounds.WORKERS, f"a whole number from 0 to {bounds.WORKERS:,}"),
}


def preset(name: str, overrides: Mapping[str, Any] | None = None) -> TrainSettings:
    """The preset, with single fields replaced. InputError for an unknown preset or field, or a value out of range."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    known = {field.name for field in fields(TrainSettings)} - {"preset"}
    for field in overrides or {}:
        if field not in known:
            raise unknown("training setting", field, known)
    settings = replace(PRESETS[name], **(overrides or {}))
    check_settings(settings)
    return settings


def check_settings(settings: TrainSettings) -> None:
    """InputError for the first field whose value is not allowed."""
    for name, choices in CHOICES.items():
        if getattr(settings, name) not in choices:
            raise unknown(name, getattr(settings, name), choices)
    optional = {field.name for field in fields(TrainSettings) if field.default is None}
    for name, (kind, least, most, allowed) in _RANGES.items():
        value = getattr(settings, name)
        if value is None and name in optional:
            continue
        number = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
        if not number or not least <= value <= most:
            raise InputError(f"{name} {value!r} is not allowed: {allowed}")
    if settings.nesterov and settings.optimizer == "sgd" and settings.momentum == 0:
        raise InputError("nesterov needs momentum above 0: set momentum, or nesterov to false")
