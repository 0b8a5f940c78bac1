"""Versions of the protocols by which figures are made. Figures of different versions are not compared.

A new release of drbench keeps the comparisons: only a change of how figures come about raises a version. Each record
says the version of its stage's protocol in its settings; a record without one was made by version 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from drbench.records import NOISE, OPS

COUNTING = 2
"""How multiply-adds are counted. Raise it when the same network gets another count.

2: without what runs once per call, on weights alone.
"""

TIMING = 1
"""How times and peak memory are measured: turns, blocks, warm-up, what is synchronized, which inputs.
Raise it when the same network on the same machine would get another time or peak for a reason other than its speed.
"""

TRAINING = 1
"""What a training computes with the same settings: initial weights, order and augmentation of images, optimizer.
Raise it when the same settings and seed train to other weights for a reason other than rounding.
"""

CURRENT: Mapping[str, int] = {"counting": COUNTING, "timing": TIMING, "training": TRAINING}
"""Key of a record's settings -> the version of this drbench."""

_OF_STAGE = {
    "cost": "counting",
    "memory": "timing",
    "latency": "timing",
    NOISE: "timing",
    OPS: "timing",
    "train": "training",
}


def of_stage(stage: str) -> dict[str, int]:
    """What a record of this stage that is made now says of its protocol, for its settings."""
    return {name: CURRENT[name] for name in _names(stage)}


def recorded(stage: str, settings: Mapping[str, Any]) -> dict[str, int]:
    """The protocol of a record, by its stage and settings; version 1 where it does not say."""
    return {name: settings.get(name, 1) for name in _names(stage)}


def of_records(records: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, int]:
    """The protocols of several records, each a stage and settings; of each protocol the latest version."""
    found: dict[str, int] = {}
    for stage, settings in records:
        for name, version in recorded(stage, settings).items():
            found[name] = max(version, found.get(name, 1))
    return found


def older(versions: Mapping[str, int]) -> str:
    """Those that are not of this drbench, in words: "counting 1, now 2"; "" where all are."""
    odd = {name: version for name, version in versions.items() if version != CURRENT.get(name, version)}
    return "; ".join(f"{name} {version}, now {CURRENT[name]}" for name, version in sorted(odd.items()))


def _names(stage: str) -> tuple[str, ...]:
    name = _OF_STAGE.get(stage)
    return () if name is None else (name,)
