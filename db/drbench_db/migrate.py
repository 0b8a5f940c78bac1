"""Bring a database to the schema of this code: look first, copy, then upgrade. Alembic is loaded only for the last."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from drbench.errors import FailedError, InputError
from drbench_db.location import Location, empty
from drbench_db.schema import REVISIONS, VERSION_TABLE, Base

HEAD = REVISIONS[-1]
MIGRATIONS = Path(__file__).with_name("migrations")


def revision(connection: Connection) -> str | None:
    """The schema a database has; None where it holds no tables of drbench."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return None if found is None else str(found)


def check_current(connection: Connection, location: Location) -> None:
    """InputError unless the schema is this code's."""
    found = revision(connection)
    command = f"drbench db upgrade --db {location.shown}"
    if found is None and location.url is not None:
        raise InputError(f"database {location.shown} has not the tables of drbench; `{command}` makes them")
    if found is None and not inspect(connection).get_table_names():
        raise InputError(empty(location.shown))
    if found is None:
        raise InputError(f"database {location.shown} has not the tables of drbench; name another with --db")
    _refuse_newer(found, location)
    if found != HEAD:
        raise InputError(
            f"database {location.shown} has the older schema {found}, this drbench has {HEAD}; `{command}` brings it up"
        )


def is_older(connection: Connection) -> bool:
    """Whether this code can bring the database up to its schema."""
    return revision(connection) in REVISIONS[:-1]


def check_ours(connection: Connection, location: Location) -> None:
    """InputError for a database of another program, or of a newer drbench: a writer leaves them alone.

    On a server other programs may have tables of their own with other names.
    """
    found = revision(connection)
    if found is not None:
        _refuse_newer(found, location)
        return
    others = set(inspect(connection).get_table_names())
    if others if location.path else others & set(Base.metadata.tables):
        raise InputError(f"database {location.shown} belongs to another program; name another with --db")


def upgrade(engine: Engine, location: Location) -> Path | None:
    """Migrate to HEAD under one lock and in one transaction, after a backup copy of the file; returns the copy.

    A new database is made from nothing, one of another program or a newer drbench is refused (InputError).
    Databases on servers are migrated without a copy: backing them up is their administrator's.
    """
    with engine.connect() as connection:
        if revision(connection) == HEAD:
            return None
    with engine.begin() as connection:  # a writer's lock on SQLite: another process may have come first
        found = revision(connection)
        if found == HEAD:
            return None
        check_ours(connection, location)
        copy = backup(location.path, found) if found is not None and location.path else None
        _alembic_upgrade(connection)
        return copy


def backup(path: Path, found: str) -> Path:
    """A consistent copy next to the file, PATH.backup-REVISION; an earlier copy is never overwritten."""
    copy = path.with_name(f"{path.name}.backup-{found}")
    number = 1
    while copy.exists():
        number += 1
        copy = path.with_name(f"{path.name}.backup-{found}.{number}")
    try:
        source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        with closing(source), closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    except sqlite3.Error as error:
        copy.unlink(missing_ok=True)
        raise FailedError(f"database {path} was not upgraded: its backup {copy.name} failed ({error})") from error
    return copy


def _refuse_newer(found: str, location: Location) -> None:
    if found not in REVISIONS:
        raise InputError(
            f"database {location.shown} is newer than this drbench (schema {found}, known: {HEAD}); upgrade drbench"
        )


def _alembic_upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", MIGRATIONS.as_posix().replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
