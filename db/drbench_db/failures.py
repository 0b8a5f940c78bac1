"""What a database can do wrong, each as one line with drbench's exit code."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from drbench.errors import DrbenchError, FailedError, InputError

_LINES: tuple[tuple[str, type[DrbenchError], str], ...] = (
    ("file is not a database", InputError, "is not an SQLite database; name another file with --db"),
    (
        "malformed",
        FailedError,
        "is damaged (SQLite: {reason}); restore a backup (*.backup-*) or name another with --db",
    ),
    ("lock timeout", FailedError, "is locked by another process; wait for it, or set DRBENCH_DB_TIMEOUT (seconds)"),
    ("locking protocol", FailedError, "is locked by many processes; wait for them to end"),
    ("is locked", FailedError, "is locked by another process; wait for it to end, or set DRBENCH_DB_TIMEOUT (seconds)"),
    ("is full", FailedError, "could not be written: the disk is full. What was recorded is kept; free space, --resume"),
    ("disk i/o", FailedError, "could not be read or written ({reason}). What was recorded is kept; check the disk"),
    ("readonly", InputError, "is read-only; make the file and its directory writable, or name another with --db"),
    ("unable to open", InputError, "cannot be opened; check that file and directory exist and may be read"),
    ("authentication failed", InputError, "refused the user or the password"),
    ("no password supplied", InputError, "wants a password: in the URL, in PGPASSWORD or in ~/.pgpass"),
    ("does not exist", InputError, "cannot be used: {reason}"),
    ("permission denied", InputError, "does not let this user do that: {reason}"),
    ("no such", InputError, "has not the tables of drbench ({reason}); name another with --db"),
)


def line(where: str, error: Exception) -> DrbenchError:
    """The user's error for a driver's: `where` names the database."""
    cause = getattr(error, "orig", None) or error
    reason = str(cause).split("\n")[0]
    if getattr(cause, "sqlite_errorname", "") == "SQLITE_READONLY_ROLLBACK":  # a reader may not roll back
        return FailedError(
            f"database {where} has a write that was never finished: a command was killed. `drbench db upgrade --db "
            f"{where}` undoes it"
        )
    for mark, kind, text in _LINES:
        if mark in reason.lower():
            return kind(f"database {where} {text.format(reason=reason)}")
    return FailedError(f"database {where}: {reason}. What was recorded is kept")


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn what SQLAlchemy and SQLite raise into one line about the database `where`."""
    try:
        yield
    except (exc.DatabaseError, exc.InterfaceError, sqlite3.Error) as error:
        raise line(where, error) from error
    except UnicodeDecodeError as error:  # SQLite names what is damaged, and the name is damaged too
        advice = "restore a backup (*.backup-*) or name another with --db"
        raise FailedError(f"database {where} is damaged (its schema is not UTF-8); {advice}") from error
    except MemoryError as error:
        raise FailedError(f"database {where} holds something too large for this machine's memory") from error
    except (UnicodeEncodeError, OverflowError) as error:  # of what is asked for or kept, before SQLite sees it
        raise InputError(f"database {where} cannot hold or look for this: {error}") from error
