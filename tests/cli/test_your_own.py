"""What docs/your-own.md shows, done as it says, in a directory outside the repository."""

from __future__ import annotations

import csv
import re
import shlex
import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from drbench_db import Store

DOCUMENT = (Path(__file__).parents[2] / "docs" / "your-own.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own.py").write_text(blocks("python")[0])
    (tmp_path / "own_task.py").write_text(next(text for text in blocks("python") if "class Rotation(" in text))
    (tmp_path / "own.toml").write_text(blocks("toml")[0])
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("own", None)
    sys.modules.pop("own_task", None)


def test_commands_of_the_document(own: None, drbench) -> None:
    commands = [shlex.split(line) for block in blocks("sh") for line in block.splitlines() if line]
    assert sum(command[:3] == ["drbench", "run", "model"] for command in commands) >= 1
    assert sum(command[:3] == ["drbench", "run", "suite"] for command in commands) >= 1
    for program, *arguments in commands:
        assert program == "drbench"
        found = drbench(*arguments)
        assert found.code == 0, (arguments, found.err)
        if arguments[0] == "report":
            assert "own:GatedConv2d" in found.out
    with Store.open("drbench.db") as store:
        records = store.records()
    assert {record.status for record in records} == {"done"}
    gated = [record for record in records if record.variant.operator == "own:GatedConv2d" and record.stage == "cost"]
    assert {record.variant.task for record in gated} == {"classify", "own_task:Rotation"}
    for record in gated:
        task = {record.variant.task} - {"classify"}
        assert set(record.variant.sources) == {"own:tiny", "own:GatedConv2d"} | task
        assert {m.part for m in record.measurements if m.name == "madds"} == {"", "conv", "gate"}
        assert record.variant.input_shape == (3, 16, 16)
        assert record.variant.num_classes == (2 if task else 4)
    assert {record.seed for record in records if record.stage == "train"} == {0, 1}


def test_the_task_of_the_document(own: None, drbench, tmp_path: Path) -> None:
    assert len((tmp_path / "own_task.py").read_text().splitlines()) < 60
    words = ("model", "own:tiny", "--task", "own_task:Rotation", "--data", "own:stripes", "--stages", "cost,train")
    run = drbench("run", *words, "--epochs", "1", "--seeds", "5")
    assert run.code == 0, run.err
    assert "val angle error" in run.err
    assert "angle error" in run.err.splitlines()[-1]
    with Store.open("drbench.db") as store:
        trained = [record for record in store.records() if record.stage == "train"]
    for record in trained:
        (figure,) = (m for m in record.measurements if m.name == "angle_error")
        errors = struct.unpack("<256d", record.outcomes.data)
        assert figure.value == pytest.approx(sum(errors) / 256)
        assert 0 <= min(errors) <= max(errors) <= 180
        assert record.variant.num_classes == 2
        assert set(record.variant.sources) == {"own:tiny", "own_task:Rotation"}
    assert drbench("baseline", "save", "--metrics", "costs,angle_error").code == 0
    (tmp_path / "own_task.py").unlink()  # what is recorded can be read without it
    sys.modules.pop("own_task")
    report = drbench("report", "--format", "csv").out
    (row,) = csv.DictReader(report.splitlines())
    assert float(row["angle_error"]) == pytest.approx(
        fmean(m.value for record in trained for m in record.measurements if m.name == "angle_error")
    )
    assert "top1" not in row
    assert drbench("check", "--run", "latest", "--metrics", "costs,angle_error").code == 0
    with Store.open("drbench.db", write=True) as store:  # as if the network had become worse by 20 degrees
        (run_of,) = store.runs()
        worse = replace(run_of, id=f"{run_of.id}-worse", started="2100-01-01T00:00:00Z")
        store.begin_run(worse)
        for number, record in enumerate(trained):
            (m,) = (m for m in record.measurements if m.name == "angle_error")
            store.add(worse.id, replace(record, key=str(number), measurements=(replace(m, value=m.value + 20),)))
        store.end_run(worse.id, "done")
    found = drbench("check", "--run", "latest", "--metrics", "angle_error")
    assert found.code == 1, found.out
    assert "+20.0 degrees" in found.out


def test_a_task_that_is_none_is_one_line(own: None, drbench) -> None:
    for name, part in (
        ("own_task:turn", "expected a drbench.figures.TaskFigures"),
        ("own_task:Rotatio", "module 'own_task' has no 'Rotatio'"),
        ("clasify", "unknown task 'clasify': did you mean 'classify'"),
    ):
        found = drbench("run", "model", "own:tiny", "--task", name, "--data", "own:stripes")
        assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)
        assert part in found.err


def test_python_of_the_document(own: None, tmp_path: Path) -> None:
    for text in blocks("python")[1:]:
        exec(compile(text, "your-own.md", "exec"), {})


def test_operator_without_cost_is_shown_as_undeclared(own: None, drbench, tmp_path: Path) -> None:
    text = (tmp_path / "own.py").read_text()
    (tmp_path / "own.py").write_text(text.replace("def cost(", "def not_cost("))
    found = drbench("run", "model", "own:tiny", "--operator", "own:GatedConv2d", "--where", "3", "--stages", "cost")
    assert found.code == 0, found.err
    assert "executed multiply-adds (convention not declared)" in found.err
    assert "not declared" in drbench("report").out


def test_failing_variant_does_not_end_the_suite(own: None, drbench, tmp_path: Path) -> None:
    with (tmp_path / "own.py").open("a") as file:
        file.write("\ndef broken(*args, **kwargs):\n    raise RuntimeError('no\\nluck')\n")
    (tmp_path / "mixed.toml").write_text(
        'name = "mixed"\narchitectures = ["own:tiny"]\nstages = ["cost", "latency"]\n'
        'operators = [{ operator = "own:broken", where = "3" }, { operator = "own:GatedConv2d", where = "3" }]\n'
        "latency = { min_runs = 2, min_seconds = 0.0 }\n"
    )
    found = drbench("run", "suite", "mixed.toml")
    assert found.code == 4
    assert "4 done, 2 failed" in found.out
    assert "Traceback" not in found.err
    with Store.open("drbench.db") as store:
        assert store.run().status == "failed"
        failed = [record for record in store.records() if record.status == "failed"]
    assert {(record.stage, record.label) for record in failed} == {("cost", "own:broken"), ("latency", "own:broken")}
    for record in failed:
        assert "RuntimeError: no luck" in record.error
        assert "raise RuntimeError" in Path(record.files["traceback"]).read_text()
    assert "no luck" in drbench("report").out
