"""What the hostile cases are made from, as real commands write it: a database, a model file, a baseline, a suite."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from tests import hostile_db

SUITE = """
name = "fuzzed"
description = "A small suite with all stages, and a network that fails."
architectures = ["mobilenet_v1_0.25", "own_fuzzed:broken"]
operators = [{ operator = "drconv", regions = 2, where = "last-pointwise" }]
match = "madds"
data = { args = { train = 64, test = 20 } }
train = { epochs = 1, batch_size = 32, threads = 1 }
latency = { batch_sizes = [1], workers = 2, warmup_runs = 0, min_runs = 3, min_seconds = 0.0, threads = 1 }
"""
OWN = """
from torch import nn


def broken(num_classes=10):
    raise RuntimeError("it is broken")


def tiny(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 3, padding=1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )
"""


@dataclass(frozen=True)
class Material:
    """Paths of what was made, in one directory that no case writes to."""

    directory: Path
    database: Path
    older: Path
    weights: Path
    baseline: Path
    suite: Path

    def header(self) -> dict[str, Any]:
        """The header of the model file."""
        with safe_open(self.weights, framework="pt") as opened:
            found: dict[str, Any] = json.loads(opened.metadata()["drbench"])
        return found


def make(directory: Path) -> Material:
    """Run the suite twice (the second time its costs alone) and save a baseline; some 20 seconds."""
    directory.mkdir(parents=True, exist_ok=True)
    suite = directory / "fuzzed.toml"
    suite.write_text(SUITE)
    (directory / "own_fuzzed.py").write_text(OWN)
    _drbench(directory, 4, "run", "suite", "fuzzed.toml")
    (first,) = (directory / "drbench-files").glob("*fuzzed*")
    _drbench(directory, 4, "run", "suite", "fuzzed.toml", "--stages", "cost")
    _drbench(directory, 0, "baseline", "save", "--run", first.name, "--metrics", "costs,latency,memory,top1")
    weights = next(first.glob("*/weights.safetensors"))
    older = hostile_db.make(directory / "older.db")
    return Material(directory, directory / "drbench.db", older, weights, directory / "drbench.baseline.json", suite)


def _drbench(directory: Path, code: int, *arguments: str) -> None:
    command = [sys.executable, "-m", "drbench", *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode != code:
        raise RuntimeError(f"{arguments} ended with {done.returncode}: {done.stdout}{done.stderr}")
