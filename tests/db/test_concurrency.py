"""Eight processes write into one database at once: nothing is lost, and nobody hears of a lock."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from drbench_db import Store

HERE = Path(__file__).parent
PROCESSES = 8
_SPEC = importlib.util.spec_from_file_location("writer", HERE / "writer.py")
assert _SPEC is not None
assert _SPEC.loader is not None
writer = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(writer)


def at_once(commands: Sequence[Sequence[str]], where: Path) -> None:
    """Run programs together; each must end well and say nothing on stderr."""
    environment = {**os.environ, "PYTHONWARNINGS": "error", "NO_COLOR": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, *command], cwd=where, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for command in commands
    ]
    time.sleep(1)  # most of them are ready by then
    (where / "go").touch()
    ended = [process.communicate(timeout=300) for process in started]
    assert [error.decode() for _, error in ended] == [""] * len(commands)
    assert [process.returncode for process in started] == [0] * len(commands)


def all_write(database: str, where: Path) -> None:
    names = [f"writer{number}" for number in range(PROCESSES)]
    at_once([[str(HERE / "writer.py"), database, name, "go"] for name in names], where)
    with Store.open(database) as store:
        found = {run.id: run for run in store.runs() if run.id.startswith("writer")}
        for name in names:
            for number in range(writer.RUNS):
                wanted = writer.run(name, number)
                run = found.pop(wanted.id)
                assert (run.machine, run.code, run.suite_text) == (wanted.machine, wanted.code, wanted.suite_text)
                assert run.status == "done"
                assert store.records(run.id) == tuple(map(writer.record, range(writer.RECORDS)))
        assert found == {}


def test_into_a_new_file(tmp_path: Path) -> None:
    all_write(str(tmp_path / "drbench.db"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drbench.db", "go"]


def test_into_a_file_of_the_previous_schema(previous: Path) -> None:
    with Store.open(previous) as store:
        before = {run.id: store.records(run.id) for run in store.runs()}
    all_write(str(previous), previous.parent)
    with Store.open(previous) as store:
        assert {run_id: store.records(run_id) for run_id in before} == before
    assert [path.name for path in previous.parent.glob("*.backup-*")] == ["previous.db.backup-0001"]


def test_into_postgresql(url: str, tmp_path: Path) -> None:
    Store.open(url, write=True, upgrade=True).close()
    all_write(url, tmp_path)


@pytest.mark.parametrize("kind", ["file", "server"])
def test_imports_by_the_real_command(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Two processes each bring the same run: it is there once."""
    runs = PROCESSES // 2
    for number in range(runs):
        with Store.open(tmp_path / f"{number}.db", write=True) as store:
            run = writer.run("imported", number)
            store.begin_run(run)
            store.add_many(run.id, map(writer.record, range(writer.RECORDS)))
        shutil.copy(tmp_path / f"{number}.db", tmp_path / f"{number + runs}.db")
    target = str(tmp_path / "all.db")
    if kind == "server":
        target = request.getfixturevalue("url")
        Store.open(target, write=True, upgrade=True).close()
    at_once([["-m", "drbench", "import", f"{number}.db", "--db", target] for number in range(PROCESSES)], tmp_path)
    with Store.open(target) as store:
        assert sorted(run.id for run in store.runs()) == [f"imported-{number}" for number in range(runs)]
        assert len(store.records()) == runs * writer.RECORDS
