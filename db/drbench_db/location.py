"""Which database, and how it is opened: where the file lies, whether it may be written, which journal it gets."""

from __future__ import annotations

import os
import re
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
    except (exc.ArgumentError, ValueError):
        hidden = re.sub(r"(?<=://).*@", "...@", given)  # what stands before the @ may be a password
        raise InputError(f"database URL {hidden!r} cannot be read; use a path or dialect://user@host/name") from None
    shown = url.render_as_string(hide_password=True)
    try:
        url.get_dialect()
    except exc.NoSuchModuleError:
        raise InputError(f"database {shown!r}: no dialect {url.drivername!r}; use a path or a URL of another") from None
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


@dataclass(frozen=True)
class Opened:
    """An engine, and how its database was opened. `immutable`: without locks, as a file that nobody writes."""

    engine: Engine
    write: bool
    immutable: bool = False


def connect(location: Location, *, write: bool) -> Opened:
    """An engine whose connections never write unless `write`. Nothing is created or migrated here."""
    if location.path is None:
        return Opened(_server_engine(location), write)
    path = location.path
    _check_file(path, location.shown, write=write)
    immutable = not write and is_immutable(path)
    mode = "mode=rwc" if write else "mode=ro&immutable=1" if immutable else "mode=ro"
    uri = f"{path.absolute().as_uri()}?{mode}"
    wait = timeout_seconds()

    def open_file() -> sqlite3.Connection:
        with translated(location.shown):
            connection = sqlite3.connect(uri, uri=True, timeout=wait, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA foreign_keys=ON")
            if write:
                _set_journal(connection, "delete" if is_network(path.parent) else "wal")
            return connection

    engine = create_engine("sqlite://", creator=open_file, poolclass=QueuePool if write else NullPool)
    # The driver would begin transactions by itself, late and not for DDL; a writer takes its lock at once, so that two
    # of them wait for each other instead of failing half-way.
    event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN"))
    return Opened(engine, write, immutable)


def is_immutable(path: Path) -> bool:
    """Whether a reader must treat the file as one that nobody writes: WAL format, and no WAL beside it.

    Otherwise even a read-only connection would leave -shm and -wal files behind, or fail in a read-only directory.
    """
    with path.open("rb") as file:
        header = file.read(20)
    wal = path.with_name(path.name + "-wal")
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


def _set_journal(connection: sqlite3.Connection, wanted: str) -> None:
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != wanted:
        connection.execute(f"PRAGMA journal_mode={wanted}")


def _check_file(path: Path, shown: str, *, write: bool) -> None:
    """InputError that says what is wrong with a file that is to be read or written as a database."""
    if not path.parent.is_dir():
        raise InputError(f"database {shown}: there is no directory {path.parent}; make it or name another with --db")
    if path.is_dir():
        raise InputError(f"database {shown} is a directory; name a file in it, such as {path / DEFAULT}")
    if path.exists():
        try:
            with path.open("rb") as file:
                head = file.read(len(_MAGIC))
        except OSError as error:
            raise InputError(f"database {shown} cannot be read: {error.strerror}") from error
        if head != _MAGIC and (head or not write):
            what = "a file of another kind" if head else "empty"
            raise InputError(f"database {shown} is {what}, not an SQLite database; name another file with --db")
    elif not write:
        raise InputError(f"there is no database {shown}; `drbench run suite smoke` makes one, --db names another")
    if write:
        for place in (path.parent, path) if path.exists() else (path.parent,):
            _writable(place, shown)


def _writable(path: Path, shown: str) -> None:
    if not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        what = "its directory is" if path.is_dir() else "it is"
        raise InputError(f"database {shown} cannot be written: {what} read-only; name another with --db")


def _server_engine(location: Location) -> Engine:
    arguments: dict[str, Any] = {"pool_pre_ping": True}
    try:
        return create_engine(location.url, **arguments)
    except ImportError as error:
        raise InputError(f"database {location.shown} needs a driver that is not installed: {error}") from error
