"""The operator benchmark, all the way: run, report, import of the same measurement, going on, wrong files."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from drbench_db import Store
from drbench_kernels.bench.__main__ import main as bench
from drbench_kernels.bench.document import FORMAT, VERSION, BenchError
from drbench_kernels.bench.options import Settings
from drbench_kernels.bench.timing import ratio

from drbench.measure.machine import machine
from drbench.records import OPS, Code, Run
from drbench.run.opbench import files

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
Command = Callable[..., Any]
WAYS = ("conv", "nn.Conv2d", "bmm", "all-and-pick", "sort-gemm", "region_conv2d", "expert_region_conv2d", "DRConv2d")
TINY = ("--shapes", "1x1-4-6@5,3x3-3-4@6x5s2", "--batch-sizes", "1,3", "--regions", "4")
QUICK = ("--threads", "1", "--max-seconds", "0.002", "--rounds", "6")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of `python -m drbench_kernels.bench`."""
    path = tmp_path_factory.mktemp("measured") / "results.json"
    assert bench(["--json", str(path), *TINY, *QUICK]) == 0
    return path


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A directory in which `drbench run ops` was run, and what it said."""
    directory = tmp_path_factory.mktemp("ran")
    command = [sys.executable, "-m", "drbench", "run", "ops", *TINY, *QUICK]
    return directory, subprocess.run(
        command, cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def test_run_records_every_shape_and_way(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    directory, done = ran
    assert done.returncode == 0, done.stderr
    assert "16 done, 0 failed" in done.stdout
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["[1/2] 1x1-4-6@5", "[2/2] 3x3-3-4@6x5s2"]
    with Store.open(directory / "drbench.db") as store:
        run, records = store.run(), store.records()
    assert (run.suite, run.status) == (OPS, "done")
    assert run.command.startswith("drbench run ops --shapes ")
    assert [(r.variant.architecture, r.variant.operator) for r in records] == [
        (shape, way) for shape in ("1x1-4-6@5", "3x3-3-4@6x5s2") for way in WAYS
    ]
    assert {r.stage for r in records} == {OPS}
    ours = records[5]
    assert (ours.label, ours.variant.input_shape) == ("region_conv2d m=4", (4, 5, 5))
    names = ["latency", "op_ratio", "extra_memory", "limit", "limit_ratio"]
    assert [m.name for m in ours.measurements] == names * 4
    assert {m.part for m in ours.measurements} == {"forward", "forward+backward"}
    latency, over = ours.measurements[:2]
    about = {"batch_size": 1, "threads": 1, "dtype": "float32", "device": "cpu", "memory_format": "channels_last"}
    assert about.items() <= latency.context.items()
    assert latency.context["path"]
    conv = records[0].measurements[0].samples
    assert over.samples == tuple(a / b for a, b in zip(latency.samples, conv, strict=False))
    assert ours.settings["rates"]["gemm_multiply_adds_per_second"] > 0


def test_report_of_a_run_in_every_format(ran: tuple[Path, subprocess.CompletedProcess[str]], drbench: Command) -> None:
    db = ran[0] / "drbench.db"
    text = drbench("report", "--db", db).out
    assert "batch 1, forward+backward" in text
    assert "geometric mean" in text
    assert "(2)" in text  # over how many shapes
    markdown = drbench("report", "--db", db, "--format", "md").out
    assert "### batch 3, forward" in markdown
    for way in ("bmm", "all-and-pick", "sort-gemm", "ours", "experts", "DRConv2d", "limit", "extra MiB", "path"):
        assert f"| {way} |" in markdown
    document = json.loads(drbench("report", "--db", db, "--format", "json").out)
    assert document["tables"] == []
    (table,) = document["ops"]
    assert len(table["rows"]) == 2 * 4 * len(WAYS) + 4 * (len(WAYS) - 2)
    rows = list(csv.DictReader(io.StringIO(drbench("report", "--db", db, "--format", "csv").out)))
    assert len(rows) == len(table["rows"])
    for row, same in zip(rows, table["rows"], strict=True):
        assert {key: row[key] for key in same} == {key: str(value) for key, value in same.items()}
    assert set(document["fields"]) >= set(table["rows"][0]) - {"kind", "architecture", "label"}
    assert drbench("report", "--db", db).out == text


def test_runs_and_show(ran: tuple[Path, subprocess.CompletedProcess[str]], drbench: Command) -> None:
    db = ran[0] / "drbench.db"
    assert "16 of 16" in drbench("runs", "list", "--db", db).out
    shown = drbench("show", "--db", db)
    assert shown.code == 0
    assert "1x1-4-6@5 region_conv2d m=4: ops: done" in shown.out
    assert drbench("show", "--suite", "--db", db).out.startswith('ops = { shapes = ["1x1-4-6@5"')
    assert drbench("show", "--json", "--db", db).code == 0


def test_a_finished_run_resumed_does_nothing(
    ran: tuple[Path, subprocess.CompletedProcess[str]], drbench: Command, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes((ran[0] / "drbench.db").read_bytes())
    found = drbench("run", "--resume", "latest", "--db", copy)
    assert found.code == 0, found.err
    assert "0 done, 0 failed, 16 already done" in found.out


def test_import_keeps_the_same_figures(measured: Path, drbench: Command) -> None:
    found = drbench("import", measured)
    assert found.code == 0, found.err
    assert "16 records" in found.out
    document = json.loads(measured.read_text())
    (table,) = json.loads(drbench("report", "--format", "json").out)["ops"]
    rows = {
        (row["architecture"], row["op_batch_size"], row["op_pass"], row["label"]): row
        for row in table["rows"]
        if row["kind"] == "op"
    }
    for result in document["results"]:
        for way, measurement in result["ways"].items():
            row = rows.pop((result["shape"]["name"], result["batch"], result["pass"], way))
            assert row["op_latency"] == measurement["seconds"]
            assert row.get("op_ratio") == measurement.get("ratio", {}).get("median")
            assert row.get("op_ratio_p25") == pytest.approx(measurement.get("ratio", {}).get("p25"))
            assert row["op_extra_memory"] == measurement["extra_bytes"]
            assert row.get("op_path", "") == measurement["path"]
            if way == "region_conv2d":
                assert row["op_limit"] == result["limit"]["seconds"]
                assert row["op_limit_ratio"] == result["limit"]["ratio"]
                assert row["op_limit_share"] == pytest.approx(result["limit"]["share"])
    assert not rows
    assert table["machine"].startswith(document["sessions"][0]["machine"]["hostname"])
    with Store.open("drbench.db") as store:
        run = store.run()
    assert (run.started, run.status) == (document["sessions"][0]["started"], "done")
    assert run.command == document["sessions"][0]["command"]


def test_imported_twice_is_there_once(measured: Path, drbench: Command) -> None:
    assert drbench("import", measured).code == 0
    again = drbench("import", measured)
    assert again.code == 0
    assert "already" in again.out
    with Store.open("drbench.db") as store:
        assert len(store.runs()) == 1
        assert len(store.records()) == 16


def test_an_unfinished_file_is_an_interrupted_run(measured: Path, drbench: Command) -> None:
    document = json.loads(measured.read_text())
    document["results"] = document["results"][:4]
    document["results"][0]["ways"]["all-and-pick"] = {"skipped": "over memory: needs about 9.0 GiB, allowed are 4"}
    Path("part.json").write_text(json.dumps(document))
    assert "interrupted: 8 records" in drbench("import", "part.json").out
    report = drbench("report").out
    assert "(interrupted)" in report
    assert "all-and-pick m=4: 1 case skipped, over memory" in report


def test_networks_and_operators_share_a_report(
    measured: Path, smoke: tuple[Path, object], drbench: Command, tmp_path: Path
) -> None:
    db = tmp_path / "both.db"
    db.write_bytes((smoke[0] / "drbench.db").read_bytes())
    before = {f: drbench("report", "--db", db, "--format", f).out for f in ("terminal", "md", "csv", "json")}
    assert drbench("import", measured, "--db", db).code == 0
    for format_, text in before.items():
        both = drbench("report", "--db", db, "--format", format_).out
        assert "1x1-4-6@5" in both
        if format_ == "json":
            assert json.loads(both)["tables"] == json.loads(text)["tables"]
        elif format_ == "csv":
            networks = [row for row in csv.DictReader(io.StringIO(both)) if not row["kind"].startswith("op")]
            alone = list(csv.DictReader(io.StringIO(text)))
            assert [{key: row[key] for key in alone[0]} for row in networks] == alone
        else:
            assert both.startswith(text[: text.rindex("\n\n")])
        assert drbench("report", "--db", db, "--suite", "smoke", "--format", format_).out == text
        only = drbench("report", "--db", db, "--suite", "ops", "--format", format_).out
        assert "shufflenet_v2_x0_5" not in only


def test_interrupted_it_goes_on(tmp_path: Path, drbench: Command) -> None:
    names = ",".join(f"1x1-{channels}-4@5" for channels in range(1, 9))
    arguments = ("--shapes", names, "--batch-sizes", "1", "--ways", "region*", *QUICK)
    command = [sys.executable, "-m", "drbench", "run", "ops", *arguments]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("[2/"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1].startswith("drbench: error: interrupted; continue with: drbench run --resume ")
    with Store.open(tmp_path / "drbench.db") as store:
        first, before = store.run(), store.records()
    assert first.status == "interrupted"
    assert 4 <= len(before) < 16
    found = drbench("run", "--resume", errors.split()[-1])
    assert found.code == 0, found.err
    assert f"{len(before)} already done" in found.out
    with Store.open(tmp_path / "drbench.db") as store:
        assert store.run().status == "done"
        after = store.records()
    assert after[: len(before)] == before
    assert len(after) == 16
    assert len({record.key for record in after}) == 16


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], str]:
    def text(document: dict[str, Any]) -> str:
        change(document)
        return json.dumps(document)

    return text


BAD: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
    "no JSON": (lambda d: json.dumps(d)[:-40], "is neither JSON"),
    "foreign": (lambda d: '{"benchmarks": []}', "not a file of"),
    "a list": (lambda d: "[1, 2]", "not a file of"),
    "newer": (changed(lambda d: d.update(version=VERSION + 1)), "version"),
    "empty": (changed(lambda d: d.update(results=[])), "no results"),
    "no settings": (changed(lambda d: d.pop("settings")), "damaged"),
    "no sessions": (changed(lambda d: d.update(sessions=[])), "damaged"),
    "no machine": (changed(lambda d: d["sessions"][0].pop("machine")), "damaged"),
    "a way is missing": (changed(lambda d: d["results"][1]["ways"].pop("bmm")), "damaged"),
    "no samples": (changed(lambda d: d["results"][1]["ways"]["bmm"].update(samples=[])), "damaged"),
    "text for numbers": (changed(lambda d: d["results"][1]["ways"]["bmm"].update(samples=["x", "y"])), "damaged"),
    "infinity": (changed(lambda d: d["results"][1]["ways"]["bmm"].update(samples=[float("inf")])), "finite numbers"),
    "deep nesting": (lambda d: "[" * 100_000, "at most 16 levels"),
    "a huge integer": (lambda d: json.dumps(d)[:-1] + f', "x": {"9" * 5000}}}', "is neither JSON"),
    "a path of numbers": (changed(lambda d: d["results"][0]["ways"]["bmm"].update(path=5)), "context.path: got 5"),
    "no date": (changed(lambda d: d["sessions"][0].update(started="soon")), "expected a time"),
    "text for a rate": (
        changed(lambda d: [one["rates"].update(gemm_multiply_adds_per_second="fast") for one in d["sessions"]]),
        "got 'fast'; expected a number above 0",
    ),
}


@pytest.mark.parametrize(("make", "says"), BAD.values(), ids=BAD)
def test_bad_files_are_refused_in_one_line(
    make: Callable[[dict[str, Any]], str], says: str, measured: Path, drbench: Command
) -> None:
    Path("bad.json").write_text(make(json.loads(measured.read_text())))
    found = drbench("import", "bad.json")
    assert found.code == 2, found.err
    assert found.err.count("\n") == 1
    assert says in found.err
    assert not Path("drbench.db").exists()  # nothing of it was kept


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["import", "missing.json"], "missing.json"),
        (["run", "ops", "--shapes", "7"], "fits none"),
        (["run", "ops", "--dtype", "int8"], "int8"),
        (["run", "ops", "--ways", "magic"], "magic"),
        (["run", "ops", "--regions", "0"], "--regions"),
        (["run", "ops", "--batch-sizes", "0"], "--batch-sizes"),
        (["run", "ops", "--graph", "--device", "cpu"], "--graph"),
        (["run", "--resume", "latest", "ops"], "--resume"),
    ],
)
def test_wrong_words_are_one_line(arguments: list[str], says: str, drbench: Command) -> None:
    found = drbench(*arguments)
    assert found.code == 2
    assert found.err.count("\n") == 1
    assert says in found.err
    assert not Path("drbench.db").exists() or arguments[0] == "import"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"layer": "subprocess:getoutput"}, "names code to import: 'subprocess:getoutput'"),
        ({"regions": "8"}, "suite_text"),  # not even read
        ({"batch_sizes": [10**12]}, "suite_text"),
        ({"threads": True}, "suite_text"),
        ({"shapes": []}, "shapes is ()"),
        ({"rounds": 0}, "rounds is 0"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_foreign_run_is_not_resumed_with_what_it_says(
    change: dict[str, Any], says: str, measured: Path, drbench: Command
) -> None:
    document = json.loads(measured.read_text())
    document["settings"].update(change)
    text, started = files.suite_text(document["settings"]), "2026-11-26T05:00:00Z"
    run = Run("20261126-0500-ops-ab12", OPS, text, "", started, machine(), Code("0.1.0"))
    with Store.open("drbench.db", write=True) as store:
        store.begin_run(run)
    found = drbench("run", "--resume", "latest")
    assert (found.code, found.err.count("\n")) == (4 if says == "suite_text" else 2, 1), found.err
    assert says in found.err


@pytest.mark.parametrize(
    "change",
    [{"regions": "8"}, {"batch_sizes": [10**12]}, {"threads": True}, {"shapes": []}, {"rounds": 0}, {"dtype": 7}],
    ids=str,
)
def test_settings_that_were_read_are_checked(change: dict[str, Any], measured: Path) -> None:
    table = json.loads(measured.read_text())["settings"]
    assert Settings.of(table).as_json() == table
    with pytest.raises(BenchError, match=f"{next(iter(change))} is "):
        Settings.of({**table, **change})


def test_going_on_measures_again_only_what_was_not_done(drbench: Command) -> None:
    words = (
        "--shapes",
        "1x1-4-6@5",
        "--batch-sizes",
        "1",
        "--passes",
        "forward",
        "--ways",
        "conv,region_conv2d",
        *QUICK,
    )
    assert drbench("run", "ops", *words).code == 0
    with closing(sqlite3.connect("drbench.db")) as connection, connection:
        connection.execute("UPDATE record SET status = 'failed' WHERE label LIKE 'region_conv2d%'")
    found = drbench("run", "--resume", "latest")
    assert found.code == 0, found.err
    assert "1 done, 0 failed, 1 already done" in found.out
    with Store.open("drbench.db") as store:
        assert sorted((r.variant.operator, r.status) for r in store.records()) == [
            ("conv", "done"),
            ("region_conv2d", "done"),
            ("region_conv2d", "failed"),
        ]


def test_format_is_that_of_the_benchmark() -> None:
    assert (files.FORMAT, files.VERSION) == (FORMAT, VERSION)


def test_ratios_of_records_are_those_of_the_benchmark(measured: Path) -> None:
    row = json.loads(measured.read_text())["results"][0]
    samples, base = row["ways"]["bmm"]["samples"], row["ways"]["conv"]["samples"]
    assert ratio(samples, base).median == row["ways"]["bmm"]["ratio"]["median"]
