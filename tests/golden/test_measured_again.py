"""What is measured now is comparable with what old code recorded, and says the same where it has to."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import chdir, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from drbench_db.rows import hashed

from drbench.measure.machine import machine
from tests.cli.conftest import inside
from tests.golden.outputs import EVALUATED, EVALUATED_PLAIN, UNUSUAL, Case, command
from tests.golden.trained import HERE, INTERRUPTED

IMAGES = 500


def compared(folder: Path, before: str, *options: str) -> list[dict[str, Any]]:
    """The verdicts on the newest run of the database in `folder` beside an earlier one."""
    with chdir(folder):
        code, text = command(Case(("compare", before, "latest", *options, "--format", "json")))
    assert code in (0, 1)
    return list(json.loads(text)["verdicts"])


@pytest.mark.parametrize(("label", "before", "top1"), [("conv", EVALUATED_PLAIN, 0.1), ("drconv", EVALUATED, 0.106)])
def test_evaluated_weights(tmp_path: Path, label: str, before: str, top1: float) -> None:
    """Of 500 images; another processor may see one of them differently."""
    shutil.copy(UNUSUAL, tmp_path / "drbench.db")
    weights = HERE / f"evaluated-{label}.safetensors"
    said = inside(["run", "model", "mobilenet_v1_0.25", "--eval-only", "--weights", weights], tmp_path)
    assert said.returncode == 0, said.stderr
    (verdict,) = compared(tmp_path, before, "--metrics", "top1", "--checkpoints")
    assert verdict["outcome"] == "held", verdict["text"]
    assert verdict["before"] == top1
    assert verdict["now"] == pytest.approx(top1, abs=1.01 / IMAGES)


def test_costs_memory_and_latency(tmp_path: Path) -> None:
    """Costs are the same to the last multiply-add. Nothing is refused, once both runs are of one machine."""
    shutil.copy(INTERRUPTED / "drbench.db", tmp_path)
    shutil.copy(HERE / "own.py", tmp_path)
    with closing(sqlite3.connect(tmp_path / "drbench.db")) as connection, connection:
        here = asdict(machine())
        columns = [row[1] for row in connection.execute("PRAGMA table_info(machine)") if row[1] in here]
        facts = {name: here[name] for name in columns}
        names = ", ".join(f"{name} = ?" for name in (*facts, "hash"))
        connection.execute(f"UPDATE machine SET {names}", [*facts.values(), hashed(facts)])
        ((before,),) = connection.execute("SELECT id FROM run").fetchall()
    suite = HERE / "suites" / "interrupted.toml"
    said = inside(["run", "suite", suite, "--stages", "cost,memory,latency"], tmp_path)
    assert said.returncode == 0, said.stderr
    options = ("--metrics", "costs,memory,latency", "--allow-different", "kernels")  # what this processor can do
    verdicts = compared(tmp_path, before, *options)
    assert {verdict["outcome"] for verdict in verdicts if verdict["metric"] == "costs"} == {"held"}
    assert {verdict["metric"] for verdict in verdicts} == {"costs", "memory", "latency"}
    assert {verdict["outcome"] for verdict in verdicts} <= {"held", "regression", "improvement", "unresolved"}
