"""Face recognition from the command line: a suite of task `verify`, its report, its gate, and wrong input."""

from __future__ import annotations

import base64
import csv
import json
from pathlib import Path

import pytest

from tests.cli.conftest import inside

SUITE = """
name = "small-faces"
task = "verify"
architectures = [{ name = "mobilefacenet", width = 0.125 }]
operators = [{ operator = "drconv", regions = 2 }]
num_classes = 16
input_shape = [3, 32, 32]
stem_stride = 1
stages = ["cost", "train"]
train = { epochs = 1, threads = 1, device = "cpu" }
data = { args = { people = 8, test_people = 8, images = 5, pairs = 60, distractors = 10, size = 32 } }
check = { metrics = ["accuracy"] }
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    (folder / "faces.toml").write_text(SUITE)
    done = inside(["run", "suite", "faces.toml", "--db", "faces.db"], folder)
    assert done.returncode == 0, done.stderr
    assert "6 people, 30 train, 10 validation, 50 test images" in done.stderr
    assert "60 pairs of 8 people in 4 folds, 32 probes among 10 distractors" in done.stderr
    return folder


def test_the_report_has_the_figures_of_the_task(drbench, run: Path) -> None:
    printed = drbench("report", "--db", run / "faces.db").out
    assert "task verify, data identities (synthetic), input 3x32x32, embedding of 16 numbers" in printed
    for name in ("accuracy", "TAR", "rank-1", "test pairs told apart"):
        assert name in printed
    table = drbench("report", "--db", run / "faces.db", "--format", "csv", "-o", run / "report.csv")
    assert table.code == 0
    with (run / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["conv", "drconv m=2"]
    for row in rows:
        assert all(0 <= float(row[name]) <= 1 for name in ("accuracy", "tar", "rank1"))


def test_a_record_says_how_a_figure_was_measured(drbench, run: Path) -> None:
    shown = json.loads(drbench("show", "latest", "--db", run / "faces.db", "--json").out)
    records = [record for record in shown["records"] if record["stage"] == "train"]
    measured = {m["name"]: m["context"] for m in records[0]["measurements"]}
    assert measured["accuracy"]["folds"] == 4
    assert measured["accuracy"]["samples"] == 60
    assert 0 < measured["accuracy"]["standard_error"] < 0.5
    assert measured["tar"]["false_accept_rate"] == 1.0  # 30 different pairs: a lower rate would hang on single ones
    assert measured["rank1"]["samples"] == 32
    assert records[0]["outcomes"]["codec"] == "pairs-1"


def test_the_gate_compares_pair_by_pair(drbench, run: Path) -> None:
    db = ("--db", run / "faces.db")
    baseline = run / "baseline.json"
    assert drbench("baseline", "save", "--baseline", baseline, *db).code == 0
    same = drbench("check", "--run", "latest", "--baseline", baseline, "--checkpoints", *db)
    assert same.code == 0, same.out + same.err
    assert "accuracy" in same.out
    assert "nothing is worse: 2 held" in same.out
    kept = json.loads(baseline.read_text())["suites"]["small-faces"]
    assert {seed["pairs"] for facts in kept.values() for seed in facts["accuracy"]["seeds"]} == {60}


def test_the_gate_fails_when_pairs_are_answered_worse(drbench, run: Path) -> None:
    """The same weights, but the baseline says that every pair was right: exit code 1, and the figure is named."""
    db, baseline = ("--db", run / "faces.db"), run / "better.json"
    assert drbench("baseline", "save", "--baseline", baseline, *db).code == 0
    table = json.loads(baseline.read_text())
    for facts in table["suites"]["small-faces"].values():
        for seed in facts["accuracy"]["seeds"]:
            seed["accuracy"], seed["correct"] = 1.0, base64.b64encode(b"\xff" * 7 + b"\xf0").decode()
    baseline.write_text(json.dumps(table))
    worse = drbench("check", "--run", "latest", "--baseline", baseline, "--checkpoints", *db)
    assert worse.code == 1
    assert "accuracy" in worse.out


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--task", "verify", "--data", "shapes"), ("got labels that are classes", "expected people", "'identities'")),
        (("--data", "identities"), ("got labels that are people", "expected classes", "'classify'", "'shapes'")),
        (("--task", "verify", "--data", "faces"), ("needs --data-root DIR", "verify/PERSON")),
        (("--task", "verify", "--num-classes", "1"), ("num_classes: got 1",)),
        (("--task", "verfy"), ("unknown task 'verfy'", "did you mean 'verify'")),
    ],
)
def test_wrong_input_is_one_line(drbench, arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    found = drbench("run", "model", "mobilenet_v1_0.25", "--stages", "train", *arguments)
    assert found.code == 2
    assert len(found.err.splitlines()) == 1, found.err
    for part in parts:
        assert part in found.err
