"""What two figures must share to be compared, metric by metric; a difference is told with both values. No torch.

Costs are exact wherever they are counted: only the counting itself and the input matter. Answers depend on the images
and on how they are prepared; times and memory on the machine and all that chooses a kernel. What changes by itself and
changes nothing (clock rates, host names, a kernel's patch level) is no condition.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from drbench.records import Machine, Record

Conditions = dict[str, Any]

PLACE = ("device", "threads", "loader_workers")
"""Of the training settings, what says where and how fast, not what."""

_TIMED = ("threads", "dtype", "channels_last", "kernels", "precision", "batch_size")


def of_costs(record: Record) -> Conditions:
    """The counting's version and the input."""
    variant = record.variant
    return {
        "counting": record.settings.get("counting"),
        "input": list(variant.input_shape),
        "classes": variant.num_classes,
    }


def of_machine(machine: Machine, context: Mapping[str, Any]) -> Conditions:
    """Of times and of memory: the device's model, and what a measurement's context says about how it was used."""
    on_gpu = context.get("device", "cpu") != "cpu"
    found: Conditions = {
        "device": " ".join((machine.gpu if on_gpu else machine.cpu).split()),
        "cores": machine.cores,
        "torch": machine.torch,
    }
    return found | {key: context[key] for key in _TIMED if key in context}


def of_answers(record: Record) -> Conditions:
    """Of top-1 on given weights: the images, their preparation, the precision."""
    settings = record.settings
    train = settings.get("train", {})
    found: Conditions = {
        "data": settings.get("test_digest") or settings.get("data_digest"),
        "preprocessing": settings.get("preprocessing"),
        "precision": train.get("precision"),
        "input": list(record.variant.input_shape),
    }
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]  # lists for tuples, as a file gives them back


def of_training(record: Record) -> Conditions:
    """Of top-1 as a claim about an operator, beside `of_answers`: the training images and every setting that counts."""
    settings = record.settings
    found = {f"train.{key}": value for key, value in settings.get("train", {}).items() if key not in PLACE}
    found["train.data"] = settings.get("data_digest")
    return found


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Field -> (before, now), of those that differ; None where one of the two does not say."""
    fields = sorted(before.keys() | now.keys())
    return {key: (before.get(key), now.get(key)) for key in fields if before.get(key) != now.get(key)}


def in_words(found: Mapping[str, tuple[Any, Any]]) -> str:
    """One line: "cores 2, was 4; torch 2.14.1, was 2.13.0"."""
    return "; ".join(f"{field} {_said(now)}, was {_said(before)}" for field, (before, now) in found.items())


def _said(value: Any) -> str:
    if value is None:
        return "not recorded"
    return value if isinstance(value, str) else json.dumps(value)
