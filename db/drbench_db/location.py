"""Which database, and how it is opened: where the file lies, whether it may be written, which journal it gets."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, exc, make_url
from sqlalchemy.pool import NullPool, QueuePool

from drbench.errors import InputError
from drbench_db.failures import translated

DEFAULT = "drbench.db"
_MAGIC = b"SQLite format 3\0"
_WAL_FORMAT = 2  # byte 18 of the header
_NETWORK = ("nfs", "cifs", "smb", "9p", "fuse", "lustre", "gpfs", "beegfs", "ceph", "gluster", "afs", "ncp", "vboxsf")


@dataclass(frozen=True)
class Location:
    """A database by file (`path`) or by server (`url`); `shown` names it in messages, without a password."""

    shown: str
    path: Path | None = None
    url: str = ""


def locate(url_or_path: str | os.PathLike[str] | None) -> Location:
    """$DRBENCH_DB or ./drbench.db where nothing is given; a path; or an SQLAlchemy URL. InputError for a bad URL."""
    given = os.fspath(url_or_path) if url_or_path is not None else os.environ.get("DRBENCH_DB") or DEFAULT
    if "://" not in given:
        return Location(given, Path(given).expanduser())
    try:
        url = make_url(given)
        shown = url.render_as_string(hide_password=True)
        url.get_dialect()
    except exc.ArgumentError:
        raise InputError(f"database URL {given!r} cannot be read; use a path or dialect://user@host/name") from None
    except exc.NoSuchModuleError:
        raise InputError(
            f"database {shown!r}: SQLAlchemy knows no {url.drivername!r}; use a path or postgresql://..."
        ) from None
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise InputError(f"database {given!r} would be gone at the end; name a file, such as sqlite:///{DEFAULT}")
        return Location(url.database, Path(url.database))
    return Location(shown, url=given)


def timeout_seconds() -> float:
    """How long to wait for another process's lock: $DRBENCH_DB_TIMEOUT, 30 s by default."""
    given = os.environ.get("DRBENCH_DB_TIMEOUT", "30")
    try:
        return max(0.0, float(given))
    except ValueError:
        raise InputError(f"DRBENCH_DB_TIMEOUT={given!r} is no number of seconds") from None


def open_engine(location: Location, *, write: bool) -> Engine:
    """An engine whose connections never write unless `write`. Nothing is created or migrated here."""
    if location.path is None:
        return _server_engine(location)
    uri = _sqlite_uri(location.path, location.shown, write=write)
    wait = timeout_seconds()

    def connect() -> sqlite3.Connection:
        with translated(location.shown):
            connection = sqlite3.connect(uri, uri=True, timeout=wait, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA foreign_keys=ON")
            if write:
                _journal(connection, location.path)
            return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool if write else NullPool)
    # The driver would begin transactions by itself, late and not for DDL; a writer takes its lock at once, so that two
    # of them wait for each other instead of failing half-way.
    event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN"))
    return engine


def is_immutable(engine_path: Path) -> bool:
    """Whether a reader must treat the file as one that nobody writes: WAL format, and no WAL beside it.

    Otherwise even a read-only connection would leave -shm and -wal files behind, or fail in a read-only directory.
    """
    with engine_path.open("rb") as file:
        header = file.read(20)
    wal = engine_path.with_name(engine_path.name + "-wal")
    return header[18:19] == bytes([_WAL_FORMAT]) and not wal.exists()


def is_network(path: Path) -> bool:
    """Whether `path` lies on a network or FUSE file system, where SQLite's WAL is unsafe (Linux; else False)."""
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
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


def _journal(connection: sqlite3.Connection, path: Path | None) -> None:
    wanted = "delete" if path is not None and is_network(path.parent) else "wal"
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != wanted:
        connection.execute(f"PRAGMA journal_mode={wanted}")


def _sqlite_uri(path: Path, shown: str, *, write: bool) -> str:
    """The file: URI to open, after looking at what lies there. InputError says what is wrong with it."""
    if not path.parent.is_dir():
        raise InputError(f"database {shown}: there is no directory {path.parent}; make it or name another with --db")
    if path.is_dir():
        raise InputError(f"database {shown} is a directory; name a file in it, such as {path / DEFAULT}")
    quoted = path.absolute().as_uri()
    if not path.exists():
        if write:
            _writable(path.parent, shown)
            return f"{quoted}?mode=rwc"
        raise InputError(f"there is no database {shown}; `drbench run suite smoke` makes one, --db names another")
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
    except OSError as error:
        raise InputError(f"database {shown} cannot be read: {error.strerror}") from error
    if head != _MAGIC and (head or not write):
        what = "a file of another kind" if head else "empty"
        raise InputError(f"database {shown} is {what}, not an SQLite database; name another file with --db")
    if write:
        _writable(path, shown)
        _writable(path.parent, shown)
        return f"{quoted}?mode=rw"
    return f"{quoted}?mode=ro&immutable=1" if is_immutable(path) else f"{quoted}?mode=ro"


def _writable(path: Path, shown: str) -> None:
    if not os.access(path, os.W_OK):
        what = "its directory is" if path.is_dir() else "it is"
        raise InputError(f"database {shown} cannot be written: {what} read-only; name another with --db")


def _server_engine(location: Location) -> Engine:
    arguments: dict[str, Any] = {"pool_pre_ping": True}
    try:
        return create_engine(location.url, **arguments)
    except ImportError as error:
        raise InputError(f"database {location.shown} needs a driver that is not installed: {error}") from error
