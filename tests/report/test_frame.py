"""`drbench.load`: a row for each measurement, the same types whatever is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from drbench_db import Store

import drbench
from drbench.errors import InputError
from drbench.report import load


def test_one_row_for_each_measurement(filled: Callable[..., Store], path: Path) -> None:
    store = filled(seeds=2)
    frame = drbench.load(path)
    measured = [(number, m) for number, r in enumerate(store.records(), 1) for m in r.measurements]
    assert len(frame) == len(measured)
    for (number, measurement), row in zip(measured, frame.itertuples(), strict=True):
        assert (row.record, row.name, row.part) == (number, measurement.name, measurement.part)
        assert row.value == measurement.value
        assert row.sample_count == len(measurement.samples)


def test_whose_figure_it_is(filled: Callable[..., Store], demo: ModuleType) -> None:
    frame = load(filled(seeds=2))
    row = frame[(frame["name"] == "top1") & (frame["label"] == "drconv m=8") & (frame["seed"] == 1)].iloc[0]
    expected = {
        "run": demo.RUN.id,
        "suite": "demo",
        "architecture": demo.ARCHITECTURE,
        "operator": "drconv",
        "regions": 8,
        "input_shape": "3x32x32",
        "num_classes": 10,
        "stage": "train",
        "status": "done",
        "data": "cifar10",
        "preset": "quick",
        "hostname": "box",
        "drbench": "0.1",
        "value": demo.TOP1["drconv m=8"][1],
        "unit": "fraction",
        "direction": "higher",
    }
    assert {name: row[name] for name in expected} == expected
    assert json.loads(row["settings"]) == demo.settings()


def test_a_failure_is_a_row_without_a_figure(store: Store, demo: ModuleType) -> None:
    store.add(demo.RUN.id, demo.record(demo.PLAIN, "cost", status="failed", error="why"))
    store.add(demo.RUN.id, demo.cost(demo.DRCONV))
    frame = load(store)
    assert frame["record"].tolist() == [1, 2, 2, 2, 2, 2]
    first = frame.iloc[0]
    assert pd.isna(first["name"])
    assert pd.isna(first["value"])
    assert (first["status"], first["error"]) == ("failed", "why")


def test_types_do_not_depend_on_the_rows(filled: Callable[..., Store], path: Path) -> None:
    with Store.open(path, write=True) as empty:
        before = load(empty, suite="nothing").dtypes
    full = load(filled(seeds=1)).dtypes
    pd.testing.assert_series_equal(before, full)


def test_selection(filled: Callable[..., Store], demo: ModuleType) -> None:
    store = filled(seeds=1)
    assert set(load(store, names=["madds", "top1"])["name"].dropna()) == {"madds", "top1"}
    assert len(load(store, run="latest")) == len(load(store))
    assert len(load(store, suite="other")) == 0
    with pytest.raises(InputError, match="no run 'x'"):
        load(store, run="x")
