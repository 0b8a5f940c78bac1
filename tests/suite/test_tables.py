from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from pydantic import ValidationError

from drbench.errors import InputError
from drbench.records import DataSettings, LatencySettings, TrainSettings
from drbench.suite.tables import DataTable, LatencyTable, StrictTable, TrainTable
from drbench.training.presets import preset

EDGES: dict[str, dict[str, tuple[list[Any], list[Any]]]] = {
    "data": {
        "name": (["x", "x" * 200], ["", "x" * 201, "a\x1b", 1]),
        "val_fraction": ([0, 0.0, 0.999], [-0.001, 1, "0.1"]),
    },
    "train": {
        "epochs": ([1, 1_000_000], [0, 1_000_001, 1.0, True]),
        "batch_size": ([1, 2**24], [0, 2**24 + 1, 32.0]),
        "optimizer": (["sgd", "adamw"], ["SGD", ""]),
        "learning_rate": ([1e-9, 1, 1e6], [0, -0.1, 1.001e6, float("nan"), float("inf"), "0.1"]),
        "momentum": ([0, 0.999], [-0.001, 1]),
        "weight_decay": ([0, 5e-4], [-1e-9, float("inf")]),
        "nesterov": ([True, False], [1, "yes"]),
        "schedule": (["cosine", "linear", "constant"], ["step"]),
        "warmup_epochs": ([0, 0.5], [-0.5, float("inf")]),
        "label_smoothing": ([0, 0.999], [-0.1, 1.0]),
        "ema_decay": ([0.001, 0.9999, None], [0, 1]),
        "grad_clip": ([0.1, 5, None], [0, float("inf")]),
        "augment": (["none", "standard"], ["strong"]),
        "device": (["auto", "cpu", "cuda", "mps"], ["tpu", "cuda:1"]),
        "precision": (["fp32", "bf16", "fp16"], ["float32"]),
        "threads": ([1, 65_536, None], [0, 65_537]),
        "loader_workers": ([0, 10_000], [-1, 10_001]),
        "recalibrate_batch_norm": ([True, False], [1, "yes"]),
        "criterion": (["default", "cosface", "arcface"], ["softmax", ""]),
        "scale": ([0.5, 64, None], [0, -1, float("inf")]),
        "margin": ([0, 0.5, None], [-0.1, 3, float("nan")]),
    },
    "latency": {
        "batch_sizes": ([1, [1, 8], [2**24]], [0, [], [0], [8, 2**24 + 1], [1] * 101, True]),
        "workers": ([1, 10_000], [0, 10_001]),
        "warmup_runs": ([0, 10_000_000], [-1, 10_000_001]),
        "min_runs": ([1, 10_000_000], [0, 10_000_001]),
        "min_seconds": ([0, 0.5], [-0.5, float("inf")]),
        "max_seconds": ([0.1, 3_153_600_000], [0, 3_153_600_001]),
        "threads": ([1, 65_536, None], [0, 65_537]),
        "dtype": (["float32", "bfloat16", "float16"], ["fp32"]),
    },
}
"""By table and field: values that are allowed, values that are not."""
TABLES: dict[str, type[StrictTable]] = {"data": DataTable, "train": TrainTable, "latency": LatencyTable}
CASES = [(table, field) for table, rows in EDGES.items() for field in rows]


@pytest.mark.parametrize(("table", "field"), CASES)
def test_limits_of_a_field(table: str, field: str) -> None:
    allowed, refused = EDGES[table][field]
    for value in allowed:
        kept = getattr(TABLES[table].model_validate({field: value}), field)
        assert kept == (tuple(value) if isinstance(value, list) else (value,) if field == "batch_sizes" else value)
    for value in refused:
        with pytest.raises(ValidationError):
            TABLES[table].model_validate({field: value})


@pytest.mark.parametrize("field", EDGES["train"])
def test_a_recipe_has_the_limits_of_the_table(field: str) -> None:
    allowed, refused = EDGES["train"][field]
    for value in allowed:
        others = {"nesterov": False} if field == "momentum" else {}
        assert getattr(preset("quick", {field: value, **others}), field) == value
    for value in refused:
        with pytest.raises(InputError, match=f"^{field}: got "):
            preset("quick", {field: value})


def test_every_limited_field_has_a_case() -> None:
    kinds = {"data": DataSettings, "train": TrainSettings, "latency": LatencySettings}
    for table, kind in kinds.items():
        limited = {field.name for field in fields(kind) if field.metadata or "Literal" in str(field.type)}  # type: ignore[arg-type]
        assert limited <= set(EDGES[table])


def test_tables_have_the_fields_and_defaults_of_the_records() -> None:
    assert list(TrainTable.model_fields) == [field.name for field in fields(TrainSettings)][1:]
    assert list(LatencyTable.model_fields) == [field.name for field in fields(LatencySettings)]
    assert list(DataTable.model_fields) == [field.name for field in fields(DataSettings)]
    assert LatencySettings(**dict(LatencyTable())) == LatencySettings()
    assert DataSettings(**dict(DataTable())) == DataSettings()
    assert set(dict(TrainTable()).values()) == {None}


@pytest.mark.parametrize("table", TABLES)
def test_unknown_fields_are_refused(table: str) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        TABLES[table].model_validate({"preset": "quick"})
