"""Which database, and how it is opened: the path of the file, whether it may be written, and its journal."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import time
from dataclasses import dataclass
from importlib.util import find_spec
from operator import methodcaller
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url
from sqlalchemy.pool import NullPool, QueuePool, StaticPool

from drbench import passwords, paths
from drbench.errors import InputError
from drbench_db.failures import translated

DEFAULT = "drbench.db"
_EXAMPLE = "postgresql://user@host/name"
_MAGIC = b"SQLite format 3\0"
_WAL_FORMAT = 2  # byte 18 of the header
_WRITERS = 0x6472_6265_6E63_68  # "drbench": the advisory lock on a server for which writers take turns
_DRIVERS = ("psycopg", "psycopg2")
_NETWORK = ("nfs", "cifs", "smb", "9p", "fuse", "lustre", "gpfs", "beegfs", "ceph", "gluster", "afs", "ncp", "vboxsf")

_text = methodcaller("decode", "utf-8", "surrogateescape")
"""A text as it is stored; bytes that are not UTF-8 as lone surrogates, which `rules` tells from text. Not a function:
a report calls it hundreds of thousands of times."""


@dataclass(frozen=True)
class Location:
    """A database by file (`path`) or on a PostgreSQL server (`url`); `shown` names it, without a password."""

    shown: str
    path: Path | None = None
    url: URL | None = None


def locate(url_or_path: str | os.PathLike[str] | None) -> Location:
    """$DRBENCH_DB or ./drbench.db where nothing is given; a path; or an SQLAlchemy URL. InputError for a bad URL."""
    given = os.fspath(url_or_path) if url_or_path is not None else os.environ.get("DRBENCH_DB") or DEFAULT
    masked = passwords.of_database(given)
    if "://" not in given:
        if passwords.is_url(given):
            raise InputError(f"database {masked!r}: expected a path (./NAME for such a file) or {_EXAMPLE}")
        return Location(given, paths.expanded(given, "database"))
    try:
        url = make_url(given)
        kind, _, driver = url.drivername.partition("+")
    except (exc.ArgumentError, ValueError):
        raise InputError(f"database URL {masked!r} cannot be read; use a path or {_EXAMPLE}") from None
    if kind == "sqlite":
        if not url.database or url.database == ":memory:":
            raise InputError(f"database {masked!r} would be gone at the end; name a file, such as sqlite:///{DEFAULT}")
        return Location(url.database, paths.expanded(url.database, "database"))
    if kind not in ("postgresql", "postgres"):
        raise InputError(f"database {masked!r}: {kind!r} is not known; use a path or {_EXAMPLE}")
    if "@" in (url.host or ""):  # a driver's message would show what it takes for the host
        raise InputError(f"database URL {masked!r} has several '@'; write one in a password as %40")
    if not url.host and re.search(":.*@", url.database or "", re.DOTALL):  # shown by the server as it is
        raise InputError(f"database URL {masked!r} has no host before its name; use {_EXAMPLE}")
    shown = passwords.of_database(url.render_as_string(hide_password=True))
    known = [driver] if driver else [name for name in _DRIVERS if find_spec(name)] or ["psycopg"]
    return Location(shown, url=url.set(drivername=f"postgresql+{known[0]}"))


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
    _check_file(path, location.shown, write=write, create=create)
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


def _check_file(path: Path, shown: str, *, write: bool, create: bool) -> None:
    """InputError that says what is wrong with a file that is to be read or written as a database.

    Only regular files are opened: opening a FIFO or a device could block for ever. The same holds for the files
    that SQLite opens next to it.
    """
    found = paths.status(path, "database")
    if found is None and not paths.is_directory(path.parent, "database"):
        raise InputError(
            f"database {shown}: got the directory {path.parent}, which does not exist; expected an existing one. "
            "Create it, or name another with --db"
        )
    if found is None and not create:
        raise InputError(f"there is no database {shown}; `drbench run suite smoke` makes one, --db names another")
    if found is not None:
        if stat.S_ISDIR(found.st_mode):
            raise InputError(f"database {shown} is a directory; name a file in it, such as {path / DEFAULT}")
        paths.check_regular(found, path, "database")
        for suffix in ("-wal", "-shm", "-journal"):
            beside = path.with_name(path.name + suffix)
            other = paths.status(beside, "database")
            if other is not None:
                paths.check_regular(other, beside, "database")
        _check_head(path, shown, create=create)
    if write:
        for place in (path.parent, path) if found is not None else (path.parent,):
            _writable(place, shown)


def _check_head(path: Path, shown: str, *, create: bool) -> None:
    """InputError for a file that does not begin as SQLite's do; an empty one is made a database with `create`."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
    except OSError as error:
        raise InputError(f"database {shown} cannot be read: {error.strerror}") from error
    if not head and not create:
        raise InputError(empty(shown))
    if head and head != _MAGIC:
        raise InputError(
            f"database {shown} is a file of another kind, not an SQLite database; name another file with --db"
        )


def empty(shown: str) -> str:
    """The message about a file without any content."""
    return (
        f"database {shown} is empty. A command that was killed before it stored anything leaves such a file: run it "
        "again, or name another file with --db"
    )


def _writable(path: Path, shown: str) -> None:
    if not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        what = "its directory is" if path.is_dir() else "it is"
        raise InputError(f"database {shown} cannot be written: {what} read-only; name another with --db")


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
