"""What two figures must have in common to be compared, metric by metric. A difference is reported with both values.

Costs are exact wherever they are counted: only the counting itself and the input matter. Answers depend on the images
and on how they are prepared; times and memory on the machine and all that chooses a kernel. What changes by itself and
changes nothing (clock rates, host names, a kernel's patch level) is no condition.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from drbench import protocol_versions
from drbench.records import Machine, Record

Conditions = dict[str, Any]

PLACE = ("device", "threads", "loader_workers")
"""Of the training settings, what says where and how fast, not what."""

_TIMED = ("threads", "dtype", "channels_last", "kernels", "precision", "batch_size")


def of_resuming(machine: Machine, versions: Mapping[str, int]) -> Conditions:
    """What must be the same to go on with a run: what is recorded then goes under its name.

    `versions`: of the protocols that the run has used, by name.
    """
    place = {name: getattr(machine, name) for name in ("cpu", "cores", "gpu", "torch")}
    return {**place, **{f"{name} protocol": version for name, version in versions.items()}}


def of_recipe(train: Mapping[str, Any]) -> Conditions:
    """Of the settings of a training, those that say what it computes: not where, nor on how many threads."""
    return {name: value for name, value in train.items() if name not in PLACE}


def of_costs(record: Record) -> Conditions:
    """The version of the counting, and the input."""
    variant = record.variant
    return {
        **protocol_versions.recorded("cost", record.settings),
        "input": list(variant.input_shape),
        "classes": variant.num_classes,
    }


def of_machine(record: Record, machine: Machine, context: Mapping[str, Any]) -> Conditions:
    """Of times and of memory: the device's model, and what a measurement's context says about how it was used.

    `machine` is that of the run; a record that was made elsewhere names its own.
    """
    machine = record.machine or machine
    on_gpu = context.get("device", "cpu") != "cpu"
    found: Conditions = {
        "device": " ".join((machine.gpu if on_gpu else machine.cpu).split()),
        "cores": machine.cores,
        "torch": machine.torch,
        **_later(protocol_versions.recorded("latency", record.settings)),
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
    """Of accuracy as a claim about an operator, in addition to `of_answers`: images and settings of the training."""
    settings = record.settings
    found = {f"train.{name}": value for name, value in of_recipe(settings.get("train", {})).items()}
    found["train.data"] = settings.get("data_digest")
    found |= _later(protocol_versions.recorded("train", settings))
    return found


def _later(versions: Mapping[str, int]) -> Conditions:
    """Without version 1: baseline files that were written before there were versions say nothing of it."""
    return {name: version for name, version in versions.items() if version != 1}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Field -> (before, now), of those that differ; None where one of the two does not say."""
    pairs = {key: (_of(before, key), _of(now, key)) for key in sorted(before.keys() | now.keys())}
    return {key: (then, now) for key, (then, now) in pairs.items() if then != now}


def _of(conditions: Mapping[str, Any], key: str) -> Any:
    """A protocol of which nothing is said is that of version 1."""
    value = conditions.get(key)
    return 1 if value is None and key in protocol_versions.CURRENT else value


def in_words(found: Mapping[str, tuple[Any, Any]]) -> str:
    """One line: "cores 2, was 4; torch 2.14.1, was 2.13.0"."""
    return "; ".join(f"{field} {_said(now)}, was {_said(before)}" for field, (before, now) in found.items())


def _said(value: Any) -> str:
    if value is None:
        return "not recorded"
    return value if isinstance(value, str) else json.dumps(value)
