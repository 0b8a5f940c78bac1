"""Segmentation from the command line: a suite of task `segment`, its report, its gate, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import inside

SUITE = """
name = "small-scenes"
task = "segment"
architectures = ["shufflenet_v2_x0_5"]
operators = [{ operator = "drconv", regions = 2 }]
match = "madds"
stages = ["cost", "memory", "train"]
train = { epochs = 1, threads = 1, device = "cpu" }
data = { args = { train = 40, test = 12, size = 64 } }
check = { metrics = ["costs", "miou"] }
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    (folder / "scenes.toml").write_text(SUITE)
    done = inside(["run", "suite", "scenes.toml", "--db", "scenes.db"], folder)
    assert done.returncode == 0, done.stderr
    assert "data scenes: 6 classes, 36 train, 4 validation, 12 test images" in done.stderr
    assert "mIoU" in done.stderr
    return folder


def test_the_report_has_the_figures_of_the_task(drbench, run: Path) -> None:
    printed = drbench("report", "--db", run / "scenes.db").out
    assert "task segment, data scenes (synthetic), input 3x64x64, 6 classes" in printed
    for words in ("mIoU", "pixel acc.", "conv =madds(drconv m=2)"):
        assert words in printed


def test_the_matched_network_has_equal_cost_with_its_head(drbench, run: Path) -> None:
    shown = json.loads(drbench("show", "latest", "--db", run / "scenes.db", "--json").out)
    costs = {
        record["label"]: next(m["value"] for m in record["measurements"] if m["name"] == "madds" and not m["part"])
        for record in shown["records"]
        if record["stage"] == "cost"
    }
    assert costs["conv"] < costs["drconv m=2"]
    assert costs["conv =madds(drconv m=2)"] == pytest.approx(costs["drconv m=2"], rel=0.01)


def test_weights_are_evaluated_again_to_the_same_figure(drbench, run: Path) -> None:
    shown = json.loads(drbench("show", "latest", "--db", run / "scenes.db", "--json").out)
    record = next(one for one in shown["records"] if one["stage"] == "train" and one["label"] == "drconv m=2")
    (first,) = [m for m in record["measurements"] if m["name"] == "miou"]
    assert first["context"]["classes"] == len(first["context"]["iou"])
    data = ("--data", "own_scenes:few", "--db", run / "again.db")
    Path("own_scenes.py").write_text(
        "from drbench.data.scenes import scenes\n\n\ndef few():\n    return scenes(train=40, test=12, size=64)\n"
    )
    options = ("--task", "segment", "--eval-only", "--weights", record["files"]["weights"], "--stages", "train")
    again = drbench("run", "model", "shufflenet_v2_x0_5", *options, *data)
    assert again.code == 0, again.err
    shown = json.loads(drbench("show", "latest", "--db", run / "again.db", "--json").out)
    (second,) = [m for m in shown["records"][0]["measurements"] if m["name"] == "miou"]
    assert second["value"] == pytest.approx(first["value"], abs=1e-6)


def test_the_gate_passes_the_same_run(drbench, run: Path) -> None:
    db, baseline = ("--db", run / "scenes.db"), run / "baseline.json"
    assert drbench("baseline", "save", "--baseline", baseline, *db).code == 0
    same = drbench("check", "--run", "latest", "--baseline", baseline, *db)
    assert same.code == 0, same.out + same.err


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--task", "segment", "--data", "shapes"), ("got labels that are classes", "expected masks", "'scenes'")),
        (("--data", "scenes"), ("got labels that are masks", "expected classes")),
        (("--task", "segment", "--num-classes", "5"), ("num_classes: got 5; expected 6",)),
    ],
)
def test_wrong_input_is_one_line(drbench, arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    found = drbench("run", "model", "mobilenet_v1_0.25", "--stages", "train", *arguments)
    assert found.code == 2
    assert len(found.err.splitlines()) == 1, found.err
    for part in parts:
        assert part in found.err
