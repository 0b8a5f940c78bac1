"""The scripts for claims about speed, on the smallest work there is: that they run, and what they leave."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import median
from xml.etree import ElementTree

import pytest

TOP = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHON": sys.executable}
TINY = ("--shapes", "1x1-4-6@5,3x3-3-4@6x5s2", "--max-seconds", "0.002", "--rounds", "4", "--threads", "1")
NETWORK = ("--side", "32", "--train-batch", "2", "--seconds", "0.01", "--rounds", "3", "--threads", "1")


def run(*command: object) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, env=ENVIRONMENT, cwd=TOP, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What benchmarks/gpu.sh leaves, on a CPU."""
    directory = tmp_path_factory.mktemp("gpu")
    words = ["benchmarks/gpu.sh", str(directory), "--device", "cpu", *TINY, "--batch-sizes", "2"]
    environment = {**ENVIRONMENT, "NETWORK_OPTIONS": " ".join(NETWORK), "DTYPES": "float32"}
    done = subprocess.run(words, env=environment, cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return directory, done.stdout


def test_all_of_the_gpu_script_but_the_gpu(gpu: tuple[Path, str]) -> None:
    directory, out = gpu
    names = {f"{what}-float32-eager.{end}" for what in ("ops", "network") for end in ("json", "txt")}
    assert {path.name for path in directory.iterdir()} == names
    operators = json.loads((directory / "ops-float32-eager.json").read_text())
    assert {row["batch"] for row in operators["results"]} == {2}
    assert not [way for row in operators["results"] for way in row["ways"].values() if "failed" in way]
    assert "== network, float32, eager" in out


def test_network_script(gpu: tuple[Path, str]) -> None:
    document = json.loads((gpu[0] / "network-float32-eager.json").read_text())
    assert document["command"].startswith("python benchmarks/network.py ")
    inference, training = document["results"]
    assert (inference["what"], inference["batch"]) == ("inference", 1)
    assert (training["what"], training["batch"]) == ("training", 2)
    for one in (inference, training):
        pairs = [a / b for a, b in zip(one["samples"]["drconv"], one["samples"]["plain"], strict=True)]
        assert one["ratio"]["median"] == median(pairs)


def test_profile_shows_where_the_time_goes() -> None:
    arguments = ("--profile", "--profile-calls", 1, "--work", "inference", *NETWORK, "--rows", 60)
    done = run(sys.executable, "benchmarks/network.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert "drbench::expert_layer" in done.stdout
    assert "inference of plain" in done.stdout


def test_chart_has_a_mark_for_every_figure(gpu: tuple[Path, str], tmp_path: Path) -> None:
    results, svg = gpu[0] / "ops-float32-eager.json", tmp_path / "chart.svg"
    done = run(sys.executable, "benchmarks/chart.py", results, svg, "--pass", "forward+backward")
    assert done.returncode == 0, done.stderr
    root = ElementTree.fromstring(svg.read_text())
    titles = [element.text or "" for element in root.iter() if element.tag.endswith("title")]
    rows = [row for row in json.loads(results.read_text())["results"] if row["pass"] == "forward+backward"]
    assert len(titles) == sum("ratio" in way for row in rows for way in row["ways"].values()) == 12
    ours = next(title for title in titles if title.startswith("1x1-4-6@5: region_conv2d"))
    assert re.search(r" (\d+\.\d\d) \[", ours)
    assert "prefers-color-scheme: dark" in svg.read_text()


def test_chart_of_nothing_is_one_line(gpu: tuple[Path, str], tmp_path: Path) -> None:
    done = run(
        sys.executable, "benchmarks/chart.py", gpu[0] / "ops-float32-eager.json", tmp_path / "c.svg", "--batch", 7
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
