"""Every option that takes a path: what cannot be opened is one line and exit code 2, and nothing hangs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drbench_db import Store

from tests.test_paths import WRONG
from tests.test_paths import places as places

Command = Callable[..., Any]
SHORT = [WRONG[name] for name in ("a NUL", "a user that is not there", "a loop of links", "a name too long")]
BYTE = "embedded null byte"
"""What typer says of a NUL in the options that it makes paths of."""

READ = (("report", "--db"), ("runs", "list", "--db"), ("import",), ("baseline", "list", "--baseline"))
WRITTEN = (
    ("import", "good.db", "--db"),
    ("export", "--db", "good.db", "-o"),
    ("baseline", "save", "--db", "good.db", "--baseline"),
    ("report", "--db", "good.db", "-o"),
)


def refused(found: Any, says: str) -> None:
    assert found.code == 2, found.err
    assert found.err.startswith("drbench: error: ")
    assert found.err.count("\n") == 1
    assert says in found.err
    assert found.err.strip().isprintable()


@pytest.fixture
def good(filled: Callable[..., Store], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """good.db in the current directory, with a run."""
    monkeypatch.chdir(tmp_path)
    store = filled(1)
    store.close()
    return (tmp_path / "drbench.db").rename(tmp_path / "good.db")


@pytest.mark.parametrize(("given", "says"), WRONG.values(), ids=WRONG)
def test_paths_to_read(drbench: Command, given: str, says: str) -> None:
    known = ("there is no database", "there is no baseline", "is a directory", "got '.', a directory", BYTE, says)
    for verb in READ:
        found = drbench(*verb, given)
        refused(found, next((text for text in known if text in found.err), says))


@pytest.mark.parametrize("verb", WRITTEN, ids=" ".join)
@pytest.mark.usefixtures("good")
def test_paths_to_write(drbench: Command, verb: tuple[str, ...]) -> None:
    for given, says in SHORT:
        found = drbench(*verb, given)
        refused(found, BYTE if BYTE in found.err else says)


@pytest.mark.usefixtures("good")
def test_verdicts_into_a_file(drbench: Command) -> None:
    for given, says in SHORT[1:]:
        refused(drbench("compare", "a", "b", "--db", "good.db", "-o", f"{given}/x.md"), says)


@pytest.mark.usefixtures("good")
def test_a_fifo_that_nobody_reads_is_no_output(drbench: Command) -> None:
    refused(drbench("report", "--db", "good.db", "-o", "fifo.db"), "a FIFO without a reader")
    refused(drbench("export", "--db", "good.db", "-o", "fifo.db"), "a FIFO; expected a file")
    refused(drbench("baseline", "save", "--db", "good.db", "--baseline", "fifo.db"), "a FIFO; expected a file")


def test_the_environment_names_a_database_likewise(drbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a user that is not there", "a loop of links", "a name too long", "a FIFO"):
        given, says = WRONG[name]
        monkeypatch.setenv("DRBENCH_DB", given)
        refused(drbench("report"), says)


@pytest.mark.usefixtures("good")
@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_a_fifo_beside_a_database_is_not_opened(drbench: Command, suffix: str) -> None:
    os.mkfifo(f"good.db{suffix}")
    refused(drbench("report", "--db", "good.db"), f"got 'good.db{suffix}', a FIFO")


def test_suites_and_data(drbench: Command) -> None:
    data = ("run", "suite", "smoke", "--dry-run", "--stages", "cost", "--data", "imagefolder", "--data-root")
    for given, says in SHORT:
        refused(drbench(*data, given), "NUL" if "\0" in given else says)
        refused(drbench("run", "suite", f"{given}/x.toml", "--dry-run"), says.partition("'; ")[2] or says)
