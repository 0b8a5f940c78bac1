from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pytest
from drbench_db.rows import machine_row

from drbench import identity
from drbench.records import DataSettings, Experiment, LatencySettings, Machine, TrainSettings, Variant

PLAIN = Variant("net")
DRCONV = Variant("net", operator="drconv", operator_args={"regions": 8, "experts": 4})
OTHER = {
    "architecture": "other",
    "operator": "condconv",
    "operator_args": {"regions": 4},
    "where": ("pointwise",),
    "where_args": {"guide": "block"},
    "init": "preserve",
    "input_shape": (3, 32, 32),
    "num_classes": 10,
    "stem_stride": 1,
    "architecture_args": {"dropout": 0.1},
    "match": "madds",
    "matched_to": "abc",
    "width": 0.5,
    "sources": {"mine:op": "0" * 64},
    "task": "mine:Task",
}


def test_canonical_json_does_not_depend_on_order_or_container() -> None:
    assert identity.canonical({"b": [1, 2.5], "a": {"y": True, "x": None}}) == '{"a":{"x":null,"y":true},"b":[1,2.5]}'
    assert identity.canonical((1, "é")) == identity.canonical([1, "é"]) == '[1,"é"]'


def test_hash_is_sha256_of_the_fields_in_another_process_too() -> None:
    script = (
        "import hashlib, json, dataclasses; from drbench.records import Variant;"
        "table = dataclasses.asdict(Variant('net')); del table['task'];"
        "text = json.dumps(table, sort_keys=True, separators=(',', ':'));"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert printed.startswith(identity.variant_hash(PLAIN))
    assert len(identity.variant_hash(PLAIN)) >= 12


def test_every_field_of_a_variant_changes_its_hash() -> None:
    assert set(OTHER) == {field.name for field in fields(Variant)}
    hashes = {identity.variant_hash(replace(PLAIN, **{name: value})) for name, value in OTHER.items()}
    assert len(hashes | {identity.variant_hash(PLAIN)}) == len(OTHER) + 1


@dataclass(frozen=True)
class LaterVariant(Variant):
    purpose: str = "any"
    purpose_args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LaterTraining(TrainSettings):
    recalibrate: int | None = None


@dataclass(frozen=True)
class LaterMachine(Machine):
    accelerator: str = ""


def test_a_later_field_at_its_default_changes_no_name() -> None:
    later = LaterVariant("net", operator="drconv", operator_args={"regions": 8, "experts": 4})
    assert identity.variant_hash(later) == identity.variant_hash(DRCONV)
    one = Experiment("train", (DRCONV,), 0, DataSettings(), TrainSettings())
    changed = replace(one, train=LaterTraining())
    assert identity.settings(changed) == identity.settings(one)
    assert identity.experiment_key(changed, later) == identity.experiment_key(one, DRCONV)


def test_a_later_field_that_differs_from_its_default_changes_the_name() -> None:
    names = {
        identity.variant_hash(variant)
        for variant in (DRCONV, LaterVariant("net", purpose="one"), LaterVariant("net", purpose_args={"a": 1}))
    }
    assert len(names) == 3
    assert identity.table(LaterTraining(recalibrate=100))["recalibrate"] == 100


def test_a_later_field_of_a_machine_keeps_the_name_of_its_row() -> None:
    facts = {"hostname": "a", "os": "b", "cpu": "c", "cores": 1, "threads": 2, "memory_bytes": 3}
    assert machine_row(LaterMachine(**facts))["hash"] == machine_row(Machine(**facts))["hash"]
    assert machine_row(LaterMachine(**facts, accelerator="x"))["hash"] != machine_row(Machine(**facts))["hash"]


def test_the_fields_that_always_count_are_fields() -> None:
    for kind, names in identity.FIRST_FIELDS.items():
        assert names <= {one.name for one in fields(kind)}


def test_order_of_arguments_does_not_change_the_hash() -> None:
    turned = replace(DRCONV, operator_args={"experts": 4, "regions": 8})
    assert identity.variant_hash(turned) == identity.variant_hash(DRCONV)


def test_key_depends_on_work_and_not_on_where_the_data_lies() -> None:
    data, train = DataSettings("cifar10", root="/here"), TrainSettings()
    one = Experiment("train", (PLAIN,), 0, data, train)
    key = identity.experiment_key(one, PLAIN)
    assert identity.experiment_key(replace(one, data=replace(data, root="/there", download=True)), PLAIN) == key
    others = [
        replace(one, stage="cost"),
        replace(one, seed=1),
        replace(one, data=replace(data, val_fraction=0.2)),
        replace(one, train=replace(train, epochs=5)),
        replace(one, latency=LatencySettings()),
        replace(one, eval_weights="file"),
    ]
    keys = {identity.experiment_key(other, PLAIN) for other in others} | {identity.experiment_key(one, DRCONV)}
    assert len(keys | {key}) == len(others) + 2


def test_labels() -> None:
    matched = replace(PLAIN, match="madds", matched_to=identity.variant_hash(DRCONV))
    condconv = replace(PLAIN, operator="condconv")
    assert identity.labels([PLAIN, DRCONV, matched, condconv]) == (
        "conv",
        "drconv m=8",
        "conv =madds(drconv m=8)",
        "condconv",
    )


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({"operator_args": {"regions": 8, "experts": 8}}, "drconv m=8 experts=8"),
        ({"where": ("pointwise",)}, "drconv m=8 where=pointwise"),
        ({"where_args": {"guide": "block"}}, "drconv m=8 where.guide=block"),
        ({"init": "preserve"}, "drconv m=8 init=preserve"),
    ],
)
def test_labels_that_would_be_the_same_say_what_differs(change: dict[str, object], label: str) -> None:
    first, second = identity.labels([DRCONV, replace(DRCONV, **change)])
    assert second == label
    assert first != second


def test_the_same_label_may_serve_two_architectures_and_a_given_one_is_kept() -> None:
    elsewhere = replace(DRCONV, architecture="other")
    assert identity.labels([DRCONV, elsewhere]) == ("drconv m=8", "drconv m=8")
    assert identity.labels([DRCONV, elsewhere], ["mine", None]) == ("mine", "drconv m=8")
