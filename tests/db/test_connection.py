"""Connections to a database: the wait for a lock, and the journal by file system. See also test_location.py."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from drbench_db import Store, connection
from drbench_db.connection import is_network, timeout_seconds


@pytest.mark.parametrize(
    ("given", "seconds"), [("0.5", 0.5), ("-1", 0), ("nan", 0), ("inf", 7 * 24 * 3600), ("1e99", 7 * 24 * 3600)]
)
def test_timeouts(monkeypatch: pytest.MonkeyPatch, given: str, seconds: float) -> None:
    monkeypatch.setenv("DRBENCH_DB_TIMEOUT", given)
    assert timeout_seconds() == seconds


def test_journal_by_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def journal(path: Path) -> str:
        Store.open(path, write=True).close()
        with closing(sqlite3.connect(path)) as opened:
            return str(opened.execute("PRAGMA journal_mode").fetchone()[0])

    assert journal(tmp_path / "local.db") == "wal"
    monkeypatch.setattr(connection, "is_network", lambda path: True)
    assert journal(tmp_path / "remote.db") == "delete"
    assert journal(tmp_path / "local.db") == "delete", "a database that was moved to such a disk changes its journal"


@pytest.mark.skipif(not Path("/proc/self/mounts").exists(), reason="needs Linux")
def test_network_file_systems_are_told_by_their_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tmp_path.resolve()
    mounts = f"dev / ext4 rw 0 0\nserver:/x {real}/net\\040work nfs4 rw 0 0\nt {real}/net\\040work/local tmpfs rw 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda self, **_: mounts)
    assert is_network(real / "net work" / "deep")
    assert not is_network(real / "net work" / "local")
    assert not is_network(real / "net")
    assert not is_network(real)
