"""Results of another task than classification, made up, through the real commands; its module is nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drbench.figures import Figure, TaskFigures
from tests.cli.test_check import keep

VERIFY = TaskFigures(
    "faces:verify",
    "accuracy",
    (Figure("accuracy", digits=1, per_unit=True), Figure("angle", "degrees", "lower", 1, tolerance=0.5)),
    "pair",
)
FIRST, SECOND = "20261101-1200-two-ab12", "20261101-1200-two-cd34"


@pytest.fixture
def two(drbench, book):
    """The second run has larger angles and the same accuracies."""
    runs = [book().costs(), book("cd34").costs()]
    for run, more in zip(runs, (0.0, 2.0), strict=True):
        for seed in range(5):
            run.scored(VERIFY, {"accuracy": 0.8 + seed / 100, "angle": 10 + more + (seed % 3) / 10}, seed)
    keep(*runs)


def test_report(two, drbench) -> None:
    found = drbench("report", "--columns", "accuracy,angle,accuracy_delta", "--sort", "angle")
    assert (found.code, "task faces:verify" in found.out) == (0, True)
    assert "82.0 ±1.6" in found.out


def test_show(two, drbench) -> None:
    assert "degrees" in drbench("show", FIRST).out


def test_compare_takes_the_headline_unless_asked(two, drbench) -> None:
    found = drbench("compare", FIRST, SECOND, "--format", "json")
    assert found.code == 0
    assert {row["metric"] for row in json.loads(found.out)["verdicts"]} == {"costs", "accuracy"}
    worse = drbench("compare", FIRST, SECOND, "--metrics", "angle")
    assert worse.code == 1
    assert "+2.0 degrees" in worse.out
    assert drbench("compare", FIRST, SECOND, "--metrics", "angle", "--limit", "angle=3").code == 0


def test_baseline_and_check(two, drbench) -> None:
    assert drbench("baseline", "save", "--run", FIRST).code == 0
    found = drbench("baseline", "save", "--run", FIRST, "--metrics", "angle")
    assert found.out == "drbench.baseline.json: 1 variants of suite two (angle) from run 20261101-1200-two-ab12\n"
    shown = drbench("baseline", "show").out
    assert "80.0%, 81.0%, 82.0%, 83.0%, 84.0%" in shown
    assert "10.0 degrees" in shown
    assert "costs, accuracy, angle" in drbench("baseline", "list").out
    assert drbench("check", "--run", SECOND, "--metrics", "accuracy").code == 0
    found = drbench("check", "--run", SECOND, "--metrics", "angle")
    assert found.code == 1
    assert f"drbench baseline accept --run {SECOND} --metric angle --only net/conv" in found.out
    accepted = drbench("baseline", "accept", "--run", SECOND, "--metric", "angle", "--only", "*", "--reason", "wider")
    assert (accepted.code, "10.08 -> 12.08 degrees" in accepted.out) == (0, True)
    assert drbench("check", "--run", SECOND, "--metrics", "angle").code == 0
    assert "top1" not in Path("drbench.baseline.json").read_text()


@pytest.mark.parametrize(
    "command",
    [
        ("compare", FIRST, SECOND, "--metrics", "angel"),
        ("compare", FIRST, SECOND, "--limit", "angel=1"),
        ("baseline", "save", "--metrics", "angel"),
        ("baseline", "accept", "--metric", "angel", "--only", "*", "--reason", "x", "--baseline", "b.json"),
    ],
)
def test_a_metric_that_the_task_lacks(two, drbench, command) -> None:
    Path("b.json").write_text('{"format": "drbench-baseline", "version": 1}')
    found = drbench(*command)
    assert found.code == 2
    assert "unknown metric 'angel': did you mean 'angle'? Known: accuracy, angle, costs, latency, memory" in found.err
