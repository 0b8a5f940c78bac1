"""Which database a path or a URL names, and whether its file can be read or written."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import URL, exc, make_url

from drbench import passwords, paths
from drbench.errors import InputError

DEFAULT = "drbench.db"
_EXAMPLE = "postgresql://user@host/name"
_MAGIC = b"SQLite format 3\0"
_DRIVERS = ("psycopg", "psycopg2")


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


def check_file(path: Path, shown: str, *, write: bool, create: bool) -> None:
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
        raise InputError(
            f"there is no database {shown}. Create one with `drbench run suite smoke`, or name another with --db"
        )
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
