from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from drbench.cli import main
from tests.books import book
from tests.report.conftest import filled, path, store

__all__ = ["book", "drbench", "filled", "inside", "path", "process", "smoke", "store"]

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120", "NO_COLOR": "1"}


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def drbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line in a directory of its own, in this process: what `drbench` runs, less the start."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRBENCH_DB", raising=False)

    def command(*arguments: object) -> Result:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        return Result(code, *capfd.readouterr())

    return command


def process(arguments: Sequence[object], directory: Path) -> subprocess.CompletedProcess[str]:
    """`python -m drbench` as a user starts it."""
    command = [sys.executable, "-m", "drbench", *map(str, arguments)]
    return subprocess.run(command, cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def inside(arguments: Sequence[object], directory: Path) -> subprocess.CompletedProcess[str]:
    """As `process`, without a process of its own, which saves loading torch; its workers are processes."""
    out, err = io.StringIO(), io.StringIO()
    with chdir(directory), redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A directory in which the suite `smoke` was run, and what the command said."""
    directory = tmp_path_factory.mktemp("smoke")
    return directory, process(["run", "suite", "smoke", "--match", "madds", "--threads", 1], directory)
