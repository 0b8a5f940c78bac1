"""The whole way, as a user goes it: run a suite, look at the results."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
from pathlib import Path

import pytest
from drbench_db import Store

from drbench.models import load_model
from drbench.records import Record

Smoke = tuple[Path, subprocess.CompletedProcess[str]]
LABELS = ("conv", "drconv m=8", "conv =madds(drconv m=8)")


@pytest.fixture(scope="module")
def records(smoke: Smoke) -> dict[tuple[str, str], Record]:
    with Store.open(smoke[0] / "drbench.db") as store:
        assert store.run().status == "done"
        return {(record.stage, record.label): record for record in store.records()}


def figure(record: Record, name: str) -> float:
    return next(m.value for m in record.measurements if m.name == name and not m.part)


def test_it_ends_well_and_says_what_to_do_next(smoke: Smoke) -> None:
    directory, done = smoke
    assert done.returncode == 0, done.stderr
    assert "12 done, 0 failed" in done.stdout
    assert "drbench report --run" in done.stdout
    assert {path.name for path in directory.iterdir()} == {"drbench.db", "drbench-files"}


def test_progress_is_one_line_for_each_variant_and_epoch(smoke: Smoke) -> None:
    lines = smoke[1].stderr.splitlines()
    for label in LABELS:
        assert sum(line.startswith(f"cost shufflenet_v2_x0_5 {label}:") for line in lines) == 1
        assert sum(f" {label} seed 0 epoch 1 of 1:" in line for line in lines) == 1
    assert not [line for line in lines if "\x1b" in line or "\r" in line]


def test_cost_table_is_printed_at_once(smoke: Smoke) -> None:
    assert "10.90" in smoke[1].stdout  # the plain network at 32 px
    assert smoke[1].stdout.index("10.90") < smoke[1].stdout.index("12 done")


def test_every_stage_of_every_variant_is_recorded(records: dict[tuple[str, str], Record]) -> None:
    assert set(records) == {(stage, label) for stage in ("cost", "memory", "latency", "train") for label in LABELS}
    assert {record.status for record in records.values()} == {"done"}


def test_published_cost_of_the_networks_as_published(records: dict[tuple[str, str], Record]) -> None:
    assert figure(records["cost", "conv"], "reference_madds") == pytest.approx(40.48e6, rel=1e-3)
    assert figure(records["cost", "drconv m=8"], "reference_madds") == pytest.approx(45.57e6, rel=1e-3)
    assert "reference_madds" not in {m.name for m in records["cost", LABELS[2]].measurements}


def test_matched_network_costs_the_same_within_one_percent(records: dict[tuple[str, str], Record]) -> None:
    converted, matched = records["cost", "drconv m=8"], records["cost", LABELS[2]]
    assert figure(matched, "madds") == pytest.approx(figure(converted, "madds"), rel=0.01)
    assert matched.variant.matched_to == converted.variant_hash
    assert matched.variant.width is not None
    assert f"width {matched.variant.width:g}, of equal madds" in matched.notes
    assert records["train", LABELS[2]].variant == matched.variant


def test_latency_ratios_are_of_the_same_rounds(records: dict[tuple[str, str], Record]) -> None:
    assert not [m for m in records["latency", "conv"].measurements if m.name == "latency_ratio"]
    for label in LABELS[1:]:
        own, ratio, floor = records["latency", label].measurements
        assert (own.context["threads"], own.context["batch_size"], own.context["dtype"]) == (1, 1, "float32")
        assert (ratio.name, floor.name) == ("latency_ratio", "latency_floor")
        for found in (ratio, floor):
            workers = found.context["workers"]
            assert workers == floor.context["workers"]
            assert len(workers) == len(found.context["worker_log_ratios"]) == 3
            rounds = map(math.log, found.samples[: workers[0]])
            assert found.context["worker_log_ratios"][0] == pytest.approx(statistics.median(rounds))


def test_every_test_image_has_its_rank(records: dict[tuple[str, str], Record]) -> None:
    for label in LABELS:
        record = records["train", label]
        assert record.outcomes.count == 256
        assert figure(record, "top1") == pytest.approx(record.outcomes.data.count(0) / 256)
        assert [epoch.number for epoch in record.epochs] == [1]
        assert record.settings["synthetic"] is True


def test_weights_need_nothing_but_their_file(records: dict[tuple[str, str], Record]) -> None:
    record = records["train", "drconv m=8"]
    model = load_model(record.files["weights"])
    assert model.variant == record.variant
    header = model.header
    assert isinstance(header, dict)
    assert len(header["classes"]) == 10
    assert header["preprocessing"]


def test_eval_only_evaluates_the_network_in_the_file(records: dict[tuple[str, str], Record], drbench) -> None:
    trained = records["train", "drconv m=8"]
    weights = ("--eval-only", "--weights", trained.files["weights"])
    found = drbench("run", "model", "shufflenet_v2_x0_5", *weights, "--threads", 1, "--data", "shapes")
    assert found.code == 0, found.err
    with Store.open("drbench.db") as store:
        (record,) = store.records()
    assert record.variant == trained.variant
    assert record.epochs == ()
    assert record.settings["data_digest"] != trained.settings["data_digest"]  # the whole of shapes, not smoke's few
    assert record.outcomes.count == 500


def test_report_has_all_rows_and_is_the_same_twice(smoke: Smoke, drbench) -> None:
    db = smoke[0] / "drbench.db"
    for format_ in ("terminal", "md", "csv", "json"):
        first = drbench("report", "--format", format_, "--db", db)
        assert first.code == 0, first.err
        assert all(label.split("(")[0] in first.out.replace("\\", "") for label in LABELS)
        assert drbench("report", "--format", format_, "--db", db).out == first.out


def test_report_into_a_file_by_its_suffix(smoke: Smoke, drbench, tmp_path: Path) -> None:
    db = smoke[0] / "drbench.db"
    assert drbench("report", "--db", db, "-o", "report.json").out == ""
    text = (tmp_path / "report.json").read_text()
    assert text == drbench("report", "--db", db, "--format", "json").out
    json.loads(text)


def test_runs_and_show(smoke: Smoke, drbench) -> None:
    db = smoke[0] / "drbench.db"
    (listed,) = json.loads(drbench("runs", "list", "--json", "--db", db).out)
    assert listed["command"] == "drbench run suite smoke --match madds --threads 1"
    assert listed["id"] in drbench("runs", "list", "--db", db).out
    shown = drbench("show", listed["id"][:13], "--db", db)
    assert shown.code == 0
    assert "drconv m=8" in shown.out
    assert 'name = "smoke"' in drbench("show", "--suite", "--db", db).out


def test_resuming_what_is_done_does_nothing(smoke: Smoke, drbench, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes((smoke[0] / "drbench.db").read_bytes())
    found = drbench("run", "--resume", "latest", "--db", copy)
    assert found.code == 0, found.err
    assert "0 done, 0 failed, 12 already done" in found.out


def test_remove(smoke: Smoke, drbench, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes((smoke[0] / "drbench.db").read_bytes())
    assert drbench("runs", "rm", "latest", "--db", copy).code == 0
    assert drbench("report", "--db", copy).code == 3
