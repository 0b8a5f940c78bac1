"""Connections to a database: the wait for a lock, whose turn it is to write, the journal."""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc
from sqlalchemy.pool import NullPool, QueuePool, StaticPool

from drbench.errors import InputError
from drbench_db.failures import translated
from drbench_db.location import Location, check_file

_WAL_FORMAT = 2  # byte 18 of the header
_WRITERS = 0x6472_6265_6E63_68  # "drbench": the advisory lock on a server for which writers take turns
_NETWORK = ("nfs", "cifs", "smb", "9p", "fuse", "lustre", "gpfs", "beegfs", "ceph", "gluster", "afs", "ncp", "vboxsf")

_text = methodcaller("decode", "utf-8", "surrogateescape")
"""A text as it is stored; bytes that are not UTF-8 as lone surrogates, which `rules` tells from text. Not a function:
a report calls it hundreds of thousands of times."""


def timeout_seconds() -> float:
    """How long to wait for another process's lock: $DRBENCH_DB_TIMEOUT, 30 s by default, a week at most."""
    given = os.environ.get("DRBENCH_DB_TIMEOUT", "30")
    try:
        return min(max(0.0, float(given)), 604_800.0)
    except ValueError:
        raise InputError(f"DRBENCH_DB_TIMEOUT: got {given!r}; expected a number of seconds") from None


@dataclass(frozen=True)
class Opened:
    """An engine, and how its database was opened. `immutable`: without locks, as a file that no process writes."""

    engine: Engine
    write: bool
    immutable: bool = False


def connect(location: Location, *, write: bool, create: bool = False) -> Opened:
    """An engine whose connections never write unless `write`; writers take turns, and wait for each other.

    Nothing is created or migrated here, beyond an empty file with `create`. InputError where there is none without it.
    """
    if location.url is not None:
        return Opened(_server_engine(location.url, location.shown, write=write), write)
    path = location.path
    assert path is not None
    check_file(path, location.shown, write=write, create=create)
    immutable = not write and is_immutable(path)
    mode = "mode=rwc" if create else "mode=rw" if write else "mode=ro&immutable=1" if immutable else "mode=ro"
    uri = f"{path.absolute().as_uri()}?{mode}"
    wait = timeout_seconds()

    def open_file() -> sqlite3.Connection:
        with translated(location.shown):
            connection = sqlite3.connect(uri, uri=True, timeout=wait, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA foreign_keys=ON")
            connection.text_factory = _text  # one name that is not UTF-8 would make all of a database unreadable
            connection.execute("PRAGMA trusted_schema=OFF")
            return connection

    engine = create_engine("sqlite://", creator=open_file, poolclass=QueuePool if write else NullPool)
    return Opened(_taking_turns(engine, write=write), write, immutable)


def copy_of(location: Location) -> Opened:
    """An SQLite database copied into memory, to be written at will: an older one is upgraded there to be read."""
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    memory.text_factory = _text
    with translated(location.shown):
        source = connect(location, write=False).engine.raw_connection()
        try:
            assert isinstance(source.driver_connection, sqlite3.Connection)
            source.driver_connection.execute("BEGIN")  # a lock is waited for here; the copying would do so for ever
            source.driver_connection.execute("SELECT 1 FROM sqlite_master").fetchone()
            source.driver_connection.backup(memory)
        finally:
            source.close()
    engine = create_engine("sqlite://", creator=lambda: memory, poolclass=StaticPool)
    return Opened(_taking_turns(engine, write=True), write=False)


def set_journal(opened: Opened, location: Location) -> None:
    """The journal that fits the file system: write-ahead, or SQLite's older one on a network's."""
    if location.path is None:
        return
    wanted = "delete" if is_network(location.path.parent) else "wal"
    until = time.monotonic() + timeout_seconds()
    with translated(location.shown):
        connection = opened.engine.raw_connection()
        try:
            while True:  # SQLite itself does not wait here for others who have just opened the file
                try:
                    cursor = connection.cursor()
                    if cursor.execute("PRAGMA journal_mode").fetchone()[0] != wanted:
                        cursor.execute(f"PRAGMA journal_mode={wanted}")
                    return
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error) or time.monotonic() > until:
                        raise
                    time.sleep(0.01)
        finally:
            connection.close()


def is_immutable(path: Path) -> bool:
    """Whether a reader must treat the file as one that no process writes: WAL format, and no WAL file next to it.

    Otherwise even a read-only connection would leave -shm and -wal files behind, or fail in a read-only directory.
    """
    with path.open("rb") as file:
        header = file.read(20)
    wal = path.with_name(path.name + "-wal")
    return header[18:19] == bytes([_WAL_FORMAT]) and not wal.exists()


def is_network(path: Path) -> bool:
    """Whether `path` is on a network or FUSE file system, where SQLite's WAL is unsafe (Linux; else False)."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    where = os.path.realpath(path)
    best, kind = "", ""
    for mount in mounts:
        _, point, filesystem, *_ = mount.split(" ")
        point = point.replace("\\040", " ")
        inside = where == point or where.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, filesystem
    return kind.startswith(_NETWORK)


def _server_engine(url: URL, shown: str, *, write: bool) -> Engine:
    """Readers see one moment through all their questions; a lost connection is noticed before the next question."""
    wait = timeout_seconds()
    arguments = {} if write else {"isolation_level": "REPEATABLE READ"}
    try:
        engine = create_engine(
            url, pool_pre_ping=True, connect_args={"connect_timeout": max(2, int(wait))}, **arguments
        )
    except (ImportError, exc.NoSuchModuleError):
        driver = url.drivername.partition("+")[2]
        raise InputError(
            f"database {shown} needs the driver {driver!r}, which is not installed: pip install 'drbench[postgresql]'"
        ) from None
    return _taking_turns(engine, write=write, wait=wait)


def _taking_turns(engine: Engine, *, write: bool, wait: float = 0.0) -> Engine:
    """A writer takes its lock as soon as a transaction begins, so that two never fail half-way.

    (SQLite's driver would begin by itself, late and not for DDL.)
    """

    def begin(connection: Connection) -> None:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
        elif write:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {max(1, int(wait * 1000))}")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")
        else:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")

    event.listen(engine, "begin", begin)
    return engine
