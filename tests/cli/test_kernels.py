"""`drbench kernels`, and what `drbench run` does about the native kernels, in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from drbench_kernels import native
from drbench_kernels.native.build import compiler, key

from tests.cli.conftest import Result

SUITE = """
name = "tiny"
architectures = ["mobilenet_v1_0.25"]
operators = [{ operator = "drconv", regions = 2, operator_args = { experts = 2 } }]
input_shape = [3, 32, 32]
stages = [STAGES]
data = { args = { train = 20, test = 10 } }
train = { epochs = 1, batch_size = 10, threads = 1 }
latency = { batch_sizes = [1], warmup_runs = 1, min_runs = 2, min_seconds = 0.0, threads = 1 }
"""
with_native = pytest.mark.skipif(
    compiler() is None or not native.ready(), reason=f"needs a compiler, native kernels: {native.why_not()}"
)


def drbench(directory: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m drbench` with a cache directory in `directory`."""
    cache = {"DRBENCH_KERNELS_DIR": str(directory / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "drbench", *map(str, arguments)]
    kept = {name: value for name, value in os.environ.items() if name not in ("DRBENCH_NATIVE", "DRBENCH_DB", "CXX")}
    return subprocess.run(
        command, cwd=directory, env={**kept, **cache, **environment}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def inside(drbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`drbench` without a process of its own, and with a cache directory of its own; its workers are processes."""
    for name in ("DRBENCH_NATIVE", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DRBENCH_KERNELS_DIR", str(tmp_path / "cache"))
    return drbench


def suite(directory: Path, *stages: str) -> str:
    (directory / "tiny.toml").write_text(SUITE.replace("STAGES", ", ".join(f'"{stage}"' for stage in stages)))
    return "tiny.toml"


def stand_in(directory: Path) -> str:
    """A compiler that makes the library of this process at once."""
    path = directory / "stand-in"
    path.write_text(
        f'#!/bin/sh\nfor word; do [ "$before" = -o ] && out=$word; before=$word; done\ncp "{native.loaded()}" "$out"\n'
    )
    path.chmod(0o755)
    return str(path)


def nowhere(directory: Path) -> str:
    (directory / "empty").mkdir(exist_ok=True)
    return str(directory / "empty")


@with_native
def test_build_prints_the_path_and_status_knows_it(tmp_path: Path) -> None:
    compiler = stand_in(tmp_path)
    before = json.loads(drbench(tmp_path, "kernels", "status", "--json", CXX=compiler).stdout)
    assert (before["kernels"], before["library"], before["compiler"]) == ("none", "", compiler)
    assert before["cache"] == str(tmp_path / "cache")
    assert "drbench kernels build" in before["why_not"]
    assert before["paths"] == {"float32": "by-region", "bfloat16": "by-region"}
    assert not (tmp_path / "cache").exists()

    done = drbench(tmp_path, "kernels", "build", CXX=compiler)
    assert done.returncode == 0, done.stderr
    library = Path(done.stdout.strip())
    assert library.is_file()
    assert library.parent.parent == tmp_path / "cache"
    assert done.stderr.startswith("building the native CPU kernels")
    assert len(done.stderr.splitlines()) == 1

    again = drbench(tmp_path, "kernels", "build", CXX=compiler)
    assert (again.returncode, again.stdout, again.stderr) == (0, done.stdout, "")
    forced = drbench(tmp_path, "kernels", "build", "--force", CXX=compiler)
    assert (forced.returncode, forced.stdout, forced.stderr) == (0, done.stdout, done.stderr)

    after = json.loads(drbench(tmp_path, "kernels", "status", "--json", CXX=compiler).stdout)
    assert (after["kernels"], after["why_not"], after["library"]) == (native.kernels(), "", str(library))
    assert after["paths"] == {"float32": "native", "bfloat16": "native"}
    text = drbench(tmp_path, "kernels", "status", CXX=compiler).stdout
    for words in (after["processor"], native.kernels(), compiler, str(library), "triton", "gpu", "cpu float32"):
        assert words in text


def test_without_a_compiler(tmp_path: Path) -> None:
    status = drbench(tmp_path, "kernels", "status", PATH=nowhere(tmp_path))
    assert status.returncode == 0, status.stderr
    assert "kernels      none: no C++ compiler found" in status.stdout
    built = drbench(tmp_path, "kernels", "build", PATH=nowhere(tmp_path))
    assert (built.returncode, built.stdout) == (4, "")
    assert built.stderr.startswith("drbench: error: no C++ compiler found: install g++")
    assert len(built.stderr.splitlines()) == 1


def test_a_compiler_that_fails(tmp_path: Path) -> None:
    built = drbench(tmp_path, "kernels", "build", CXX=shutil.which("false") or "")
    assert (built.returncode, built.stdout) == (4, "")
    assert built.stderr.splitlines()[1].startswith("drbench: error: ")
    assert "false failed: no message" in built.stderr
    assert "build.log" in built.stderr


@pytest.mark.parametrize(
    "arguments",
    ["kernels status", "kernels build", "models show shufflenet_v2_x0_5 --regions 2", "run suite smoke", "run ops"],
)
def test_a_wish_that_is_none(tmp_path: Path, arguments: str) -> None:
    done = drbench(tmp_path, *arguments.split(), DRBENCH_NATIVE="yes")
    assert done.returncode == 2
    assert done.stderr == "drbench: error: DRBENCH_NATIVE: got 'yes'; expected auto, build, off\n"
    assert not list(tmp_path.iterdir())


@with_native
def test_a_run_builds_first_and_says_what_ran(inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", stand_in(tmp_path))
    counted = inside("run", "suite", suite(tmp_path, "cost"))
    assert (counted.code, (tmp_path / "cache").exists()) == (0, False), counted.err
    name = suite(tmp_path, "cost", "latency", "train")
    dry = inside("run", "suite", name, "--dry-run")
    assert (dry.code, (tmp_path / "cache").exists()) == (0, False), dry.err
    plain = inside("run", "suite", name, "--exclude", "*drconv*", "--stages", "latency")
    assert (plain.code, (tmp_path / "cache").exists()) == (0, False), plain.err

    done = inside("run", "suite", name)
    assert done.code == 0, done.err
    data, building = done.err.splitlines()[:2]
    assert data.startswith("data shapes: ")
    assert building.startswith("building the native CPU kernels")
    assert "arning" not in done.err
    found = json.loads(inside("show", "--json").out)["records"]
    ran = f"native {native.kernels()}"
    for record in found:
        region = ran if "drconv" in record["label"] else None
        if record["stage"] == "train":
            assert record["settings"].get("kernels") == region
        if record["stage"] == "latency":
            assert {m["context"].get("kernels") for m in record["measurements"]} == {region}
    assert f"region convolutions: {ran}" in inside("show").out

    # what ran is no part of the work's name: what is done is skipped, on another path too, and nothing is built for it
    shutil.rmtree(tmp_path / "cache")
    again = inside("run", "--resume", "latest")
    assert again.code == 0, again.err
    assert "0 done, 0 failed, 6 already done" in again.out
    assert not (tmp_path / "cache").exists()


def test_a_run_without_a_compiler_warns_once_and_goes_on(
    inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", nowhere(tmp_path))
    done = inside("run", "suite", suite(tmp_path, "latency", "train"))
    assert done.code == 0, done.err
    (line,) = (line for line in done.err.splitlines() if "arning" in line)
    for words in ("warning: ", "PyTorch path", "slower", "no C++ compiler found: install g++"):
        assert words in line
    found = json.loads(inside("show", "--json").out)["records"]
    assert {record["settings"].get("kernels") for record in found if record["stage"] == "train"} == {None, "torch"}


@with_native
def test_a_library_built_ahead_serves_a_run_without_a_compiler(
    inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", nowhere(tmp_path))
    library = native.loaded()
    assert library is not None
    (tmp_path / "cache" / key()).mkdir(parents=True)
    shutil.copy(library, tmp_path / "cache" / key())
    done = inside("run", "suite", suite(tmp_path, "latency"))
    assert done.code == 0, done.err
    assert "arning" not in done.err
