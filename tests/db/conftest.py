"""A database as the previous version of drbench left it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

FIXTURE = Path(__file__).with_name("fixtures") / "schema-0001.sql"


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """A file of schema 0001, written by SQLite alone."""
    path = tmp_path / "previous.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIXTURE.read_text(encoding="utf-8"))
        connection.execute("PRAGMA journal_mode=wal")
    return path
