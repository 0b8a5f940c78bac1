"""Another task than classification, made up: what it declares is all that the report knows of it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from drbench_db import Store

from drbench.errors import InputError
from drbench.figures import Figure, TaskFigures, as_table
from drbench.records import Epoch, Measurement, Record, Variant
from drbench.report import load, render, show
from drbench.report.build import build

VERIFY = TaskFigures(
    "faces:verify",
    "accuracy",
    (
        Figure("accuracy", digits=1, meaning="pairs told right", per_unit=True),
        Figure("angle", "degrees", "lower", 3, "mean angle between mates"),
    ),
    "pair",
)
ANGLES = TaskFigures("faces:angles", "angle", VERIFY.figures, "pair")
RUN_ID = "20260102-1200-demo-cd34"
ACCURACY = {"conv": (0.80, 0.82, 0.84, 0.81, 0.83), "drconv m=8": (0.85, 0.84, 0.88, 0.87, 0.90)}
ANGLE = {"conv": (11.0, 12.0, 13.0, 12.5, 11.5), "drconv m=8": (9.0, 10.0, 9.5, 11.25, 9.75)}


@pytest.fixture
def verified(store: Store, demo: ModuleType) -> Callable[..., Store]:
    """Fills the store with trainings of `declared` for two variants, by default of VERIFY."""

    def fill(declared: TaskFigures = VERIFY, seeds: int = 5, labels: Sequence[str] = ("conv", "drconv m=8")) -> Store:
        store.begin_run(replace(demo.RUN, id=RUN_ID))
        about = {"task": declared.task, "figures": as_table(declared)}
        for variant, label in ((demo.PLAIN, "conv"), (demo.DRCONV, "drconv m=8")):
            if label in labels:
                store.add(RUN_ID, replace(demo.cost(variant), settings=about))
                for seed in range(seeds):
                    store.add(RUN_ID, trained(demo, declared, variant, label, seed))
        return store

    return fill


def trained(demo: ModuleType, declared: TaskFigures, variant: Variant, label: str, seed: int) -> Record:
    values = {"accuracy": ACCURACY[label][seed], "angle": ANGLE[label][seed]}
    figures = [Measurement(f.name, values[f.name], f.unit, f.direction) for f in declared.figures]
    main = declared.main
    figures.append(Measurement(declared.validation, values[main.name], main.unit, main.direction))
    settings = {**demo.settings("faces"), "task": declared.task, "figures": as_table(declared)}
    epochs = (Epoch(1, 2.25, 2.0, 0.5, 0.1, 1000.0, 3.0),)
    made: Record = demo.record(variant, "train", figures, seed=seed, settings=settings, epochs=epochs)
    return made


def test_figures_and_differences_are_those_that_were_declared(verified: Callable[..., Store]) -> None:
    (table,) = build(load(verified())).tables
    assert table.conditions.task == VERIFY
    values = {row.label: row.values for row in table.rows}["drconv m=8"]
    ours, plain = (np.array(ACCURACY[label]) for label in ("drconv m=8", "conv"))
    assert values["accuracy"] == pytest.approx(ours.mean())
    assert values["accuracy_sd"] == pytest.approx(ours.std(ddof=1))
    assert values["accuracy_delta"] == pytest.approx((ours - plain).mean())
    half = 2.776445 * (ours - plain).std(ddof=1) / np.sqrt(5)  # Student's t, 97.5%, 4 degrees of freedom
    assert values["accuracy_delta_ci95"] == pytest.approx(half, rel=4e-3)
    assert values["angle"] == pytest.approx(np.mean(ANGLE["drconv m=8"]))
    assert values["val_accuracy"] == pytest.approx(ours.mean())
    assert values["madds"] == 45_000_000
    assert not any("top" in name for name in values)


def test_a_table_reads_as_declared(verified: Callable[..., Store]) -> None:
    text = render(verified(), width=200)
    assert "suite demo: task faces:verify, data faces," in text
    header = next(line for line in text.splitlines() if "accuracy" in line and "seeds" in line)
    assert re.search(r"params +Δ +accuracy +seeds +Δ accuracy +angle$", header)
    row = next(line for line in text.splitlines() if "drconv m=8" in line)
    assert "86.8 ±2.4" in row
    assert "9.900" in row
    assert "accuracy: pairs told right, mean over seeds ± standard deviation over seeds." in text
    assert "angle: mean angle between mates, mean over seeds, lower is better." in text
    assert "top-1" not in text.partition("published figures")[0]


def test_a_headline_that_is_no_fraction_keeps_its_unit(verified: Callable[..., Store]) -> None:
    text = render(verified(ANGLES), width=200, columns=["angle", "angle_delta", "val_angle"])
    row = next(line for line in text.splitlines() if "drconv m=8" in line)
    ours, plain = (np.array(ANGLE[label]) for label in ("drconv m=8", "conv"))
    assert f"{ours.mean():.3f} ±{ours.std(ddof=1):.3f}" in row
    assert f"{(ours - plain).mean():+.3f} ±" in row
    assert "in degrees, ± half" in text
    assert "degrees ±sd" in text


@pytest.mark.parametrize("format", ["terminal", "md", "csv", "json"])
def test_every_format_has_the_figures(verified: Callable[..., Store], format: str) -> None:
    text = render(verified(), format=format)
    own = re.sub("published_top1|top-1 as published", "", text.partition("published figures")[0])
    assert "top-1" not in own
    if format == "json":
        found = json.loads(text)
        assert set(ACCURACY) == {row["label"] for table in found["tables"] for row in table["rows"]}
        assert found["tables"][0]["rows"][1]["angle"] == pytest.approx(9.9)
        assert "top1" not in own
        assert found["tables"][0]["task"] == VERIFY.task
        assert found["tables"][0]["figures"] == json.loads(json.dumps(as_table(VERIFY)))
        meaning = "angle: mean angle between mates, degrees, mean over seeds, lower is better"
        assert found["fields"]["angle"] == meaning
        assert found["fields"]["seeds"] == "number of trainings for accuracy"
    if format == "csv":
        lines = {line["label"]: line for line in csv.DictReader(io.StringIO(text)) if line["kind"] != "published"}
        assert "top1" not in own
        assert lines["drconv m=8"]["task"] == VERIFY.task
        assert float(lines["drconv m=8"]["accuracy_delta"]) == pytest.approx(0.048)


def test_each_task_has_its_own_table_and_columns(
    verified: Callable[..., Store], filled: Callable[..., Store], demo: ModuleType
) -> None:
    verified()
    store = filled(2, "faces")
    tables = build(load(store)).tables
    assert [table.conditions.task.task for table in tables] == ["classify", "faces:verify"]
    assert all("top1" not in row.values for row in tables[1].rows)
    assert all("accuracy" not in row.values for row in tables[0].rows)
    text = render(store, width=200, columns=["seeds", "top1", "accuracy"])
    first, second = text.split("suite demo: task")
    assert "top-1" in first
    assert "accuracy" not in first
    assert "accuracy" in second
    with pytest.raises(InputError, match="did you mean 'accuracy'"):
        render(store, columns=["accurracy"])


def test_rows_sort_by_a_declared_figure(verified: Callable[..., Store]) -> None:
    lines = render(verified(), sort="-angle", columns=["angle"]).splitlines()
    assert [line.split()[-1] for line in lines if re.search(r"\d\.\d{3}$", line)] == ["12.000", "9.900"]


def test_a_failure_before_the_task_was_known_joins_the_others(verified: Callable[..., Store], demo: ModuleType) -> None:
    store = verified(labels=("conv",))
    settings = {**demo.settings("faces", found=False), "task": VERIFY.task}
    failed = demo.record(demo.DRCONV, "train", seed=0, settings=settings, status="failed", error="crashed: SIGSEGV")
    store.add(RUN_ID, failed)
    (table,) = build(load(store)).tables
    assert table.conditions.task == VERIFY
    assert [row.values["status"] for row in table.rows] == ["done", "train failed"]


def test_a_task_of_which_only_failures_are_known_has_a_table(store: Store, demo: ModuleType) -> None:
    settings = {**demo.settings("faces", found=False), "task": VERIFY.task}
    store.add(demo.RUN.id, demo.record(demo.PLAIN, "train", seed=0, settings=settings, status="failed", error="boom"))
    assert "train failed (seed 0): boom" in render(store)


def test_show_names_the_curve_by_the_headline(verified: Callable[..., Store]) -> None:
    text = show(verified(ANGLES), width=200)
    assert "val angle degrees" in text
    assert "top-1" not in text
    assert "0.500" in text
