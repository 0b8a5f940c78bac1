"""Each way in which a database cannot be opened is one clear line with the documented exit code."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from drbench_db import Store, location

from drbench.errors import DrbenchError, FailedError, InputError
from drbench.passwords import without_password

NOBODY = 65534


def refused(path: object, *, write: bool, kind: type[DrbenchError] = InputError) -> str:
    """The one line with which opening is refused."""
    with pytest.raises(kind) as error:
        Store.open(path, write=write)  # type: ignore[arg-type]
    line = str(error.value)
    assert "\n" not in line
    assert error.value.exit_code == {InputError: 2, FailedError: 4}[kind]
    return line


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "drbench.db"
    Store.open(path, write=True).close()
    return path


def _text(path: Path) -> None:
    path.write_text("this is not a database, however long it may be")


def _directory(path: Path) -> None:
    path.mkdir()


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")


def _truncated(path: Path) -> None:
    Store.open(path, write=True).close()
    path.write_bytes(path.read_bytes()[:5000])


def _garbled(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\x99" * 5000)


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_text, "a file of another kind, not an SQLite database"),
        (_directory, "is a directory"),
        (_foreign, "belongs to another program|has not the tables of drbench"),
        (_truncated, "is damaged (SQLite: database disk image is malformed)"),
        (_garbled, "is not an SQLite database|is damaged"),
    ],
)
def test_what_is_no_database_of_ours(tmp_path: Path, make: Callable[[Path], None], says: str, write: bool) -> None:
    path = tmp_path / "drbench.db"
    make(path)
    content = None if path.is_dir() else path.read_bytes()
    line = refused(path, write=write, kind=FailedError if make is _truncated else InputError)
    assert any(part in line for part in says.split("|")), line
    assert str(path) in line
    assert content is None or path.read_bytes() == content, "what is not ours is left alone"


@pytest.mark.parametrize("write", [False, True])
def test_a_missing_directory(tmp_path: Path, write: bool) -> None:
    assert "which does not exist; expected an existing one" in refused(tmp_path / "no" / "drbench.db", write=write)


def test_reading_what_is_not_there(tmp_path: Path) -> None:
    assert "there is no database" in refused(tmp_path / "drbench.db", write=False)
    assert list(tmp_path.iterdir()) == []


def _zero(path: Path) -> None:
    path.touch()


def _tableless(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")
    assert path.read_bytes().startswith(b"SQLite format 3")


@pytest.mark.parametrize("make", [_zero, _tableless])
def test_an_empty_file_is_made_a_database_only_by_a_writer(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "drbench.db"
    make(path)
    line = refused(path, write=False)
    assert "is empty. A command that was killed before it stored anything leaves such a file" in line
    assert "run it again, or name another file with --db" in line
    Store.open(path, write=True).close()
    with Store.open(path) as store:
        assert store.runs() == ()


def test_a_writer_may_ask_not_to_create_a_database(tmp_path: Path, db: Path) -> None:
    for path, says in ((tmp_path / "missing.db", "there is no database"), (tmp_path / "empty.db", "is empty")):
        if says == "is empty":
            path.touch()
        with pytest.raises(InputError, match=says):
            Store.open(path, write=True, create=False)
    assert not (tmp_path / "missing.db").exists()
    assert (tmp_path / "empty.db").stat().st_size == 0
    Store.open(db, write=True, create=False).close()


UNFINISHED = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode=delete")
database.execute("PRAGMA cache_size=1")
database.execute("BEGIN IMMEDIATE")
database.execute("CREATE TABLE filler (x)")
for _ in range(300):
    database.execute("INSERT INTO filler VALUES (?)", ("y" * 3000,))
os.kill(os.getpid(), 9)
"""


def test_a_write_that_a_kill_left_unfinished_is_undone_by_the_next_writer(db: Path) -> None:
    subprocess.run([sys.executable, "-c", UNFINISHED, db], check=False)
    assert db.with_name(f"{db.name}-journal").stat().st_size > 0
    line = refused(db, write=False, kind=FailedError)
    assert f"was never finished: a command was killed. `drbench db upgrade --db {db}` undoes it" in line
    Store.open(db, write=True, upgrade=True).close()
    with Store.open(db) as store:
        assert store.runs() == ()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql:///u:secret@h/x", "has no host before its name"),
        ("postgres:///u:a@secret@h:1/x?a=b", "has no host before its name"),
        ("nosuchdialect://host/name", "'nosuchdialect' is not known; use a path or postgresql://"),
        ("mysql://user:secret@host/name", "'mysql' is not known; use a path or postgresql://"),
        ("postgresql+nosuchdriver://user:secret@host/name", "pip install 'drbench[postgresql]'"),
        ("postgresql://user:secret@host:port:x/name", "cannot be read"),
        ("://", "cannot be read"),
        ("sqlite://", "name a file"),
        ("sqlite:///:memory:", "name a file"),
    ],
)
def test_bad_urls(url: str, says: str) -> None:
    line = refused(url, write=True)
    assert says in line
    assert "secret" not in line


@pytest.mark.parametrize(
    ("installed", "driver"),
    [(("psycopg", "psycopg2"), "psycopg"), (("psycopg2",), "psycopg2"), ((), "psycopg")],
)
@pytest.mark.parametrize("kind", ["postgresql", "postgres"])
def test_the_driver_is_the_one_that_is_there(
    monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], driver: str, kind: str
) -> None:
    monkeypatch.setattr(location, "find_spec", lambda name: name in installed or None)
    found = location.locate(f"{kind}://user@host/name").url
    assert found is not None
    assert found.drivername == f"postgresql+{driver}"
    named = location.locate("postgresql+psycopg2://user@host/name").url
    assert named is not None
    assert named.drivername == "postgresql+psycopg2", "whoever names a driver gets it"


def test_a_missing_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    line = refused("postgresql://user:secret@localhost/name", write=False)
    assert "needs the driver 'psycopg', which is not installed: pip install 'drbench[postgresql]'" in line
    assert "secret" not in line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql+psycopg://me:s/e:c@ret@host:5432/db", "postgresql+psycopg://me:***@host:5432/db"),
        ("postgresql://me@host/db?password=secret&x=1", "postgresql://me@host/db?password=***&x=1"),
        ("drbench runs list --db postgres://me:secret@host/db", "drbench runs list --db postgres://me:***@host/db"),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("results/a:b@c.db", "results/a:b@c.db"),
    ],
)
def test_passwords_are_not_shown(text: str, shown: str) -> None:
    assert without_password(text) == shown


def test_a_url_and_the_environment_name_the_same_file(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(f"sqlite:///{db}") as store:
        assert store.runs() == ()
    monkeypatch.setenv("DRBENCH_DB", str(db))
    with Store.open() as store:
        assert store.name == str(db)
    monkeypatch.delenv("DRBENCH_DB")
    monkeypatch.chdir(db.parent)
    with Store.open() as store:
        assert store.name == "drbench.db"


def test_a_path_with_what_urls_treat_as_special(tmp_path: Path) -> None:
    path = tmp_path / "100% räum?e#1" / "my db?mode=ro.db"
    path.parent.mkdir()
    Store.open(path, write=True).close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with Store.open(path) as store:
        assert store.runs() == ()


@pytest.mark.parametrize("level", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_lock_is_waited_for_and_then_reported(db: Path, monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    monkeypatch.setenv("DRBENCH_DB_TIMEOUT", "0.05")
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=delete")
        other.execute(f"BEGIN {level}")
        assert "is locked by another process" in refused(db, write=True, kind=FailedError)
        if level == "EXCLUSIVE":
            assert "is locked by another process" in refused(db, write=False, kind=FailedError)


def test_a_lock_in_the_middle_of_a_run(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRBENCH_DB_TIMEOUT", "0.05")
    with Store.open(db, write=True) as store, closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(FailedError, match="is locked by another process"):
            store.end_run("x", "done")


def test_a_timeout_that_is_no_number(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRBENCH_DB_TIMEOUT", "soon")
    assert "DRBENCH_DB_TIMEOUT: got 'soon'; expected a number of seconds" in refused(db, write=True)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Whoever runs this as root becomes nobody for a while; permissions mean nothing to root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def readable() -> Iterator[Path]:
    """A database in a directory that everybody may look into."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    Store.open(folder / "drbench.db", write=True).close()
    (folder / "drbench.db").chmod(0o644)
    yield folder / "drbench.db"
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_read_only_file_in_a_read_only_directory_is_read(readable: Path) -> None:
    readable.chmod(0o444)
    readable.parent.chmod(0o555)
    with unprivileged():
        assert "cannot be written" in refused(readable, write=True)
        with Store.open(readable) as store:
            assert store.runs() == ()
        assert [file.name for file in readable.parent.iterdir()] == ["drbench.db"]


def test_a_read_only_directory_is_no_place_to_write(readable: Path) -> None:
    readable.chmod(0o666)
    readable.parent.chmod(0o555)
    with unprivileged():
        assert "its directory is read-only" in refused(readable, write=True)
        assert "its directory is read-only" in refused(readable.with_name("new.db"), write=True)


def test_a_file_that_may_not_be_read(readable: Path) -> None:
    readable.chmod(0o000)
    with unprivileged():
        assert "cannot be read" in refused(readable, write=False)
    readable.chmod(0o644)
