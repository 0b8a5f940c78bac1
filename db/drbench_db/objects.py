"""What a file's schema consists of, looked at before any of it is used.

A view or a virtual table in place of one of our tables runs SQL that somebody else wrote as soon as it is named; views
of views can take for ever. So our tables must be tables. Triggers never run when a file is read; a file with triggers
on our tables is not written to.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine

from drbench.errors import InputError
from drbench_db.location import Location
from drbench_db.schema import VERSION_TABLE, Base
from drbench_db.validate import shown

_OURS = frozenset({*Base.metadata.tables, VERSION_TABLE})


def check(engine: Engine, location: Location, *, write: bool) -> None:
    """InputError unless all that has a table's name is a plain table, and nothing is tied to one that is written."""
    if location.path is None:
        return
    with engine.connect() as connection:
        for kind, name, table, sql in _objects(connection):
            if kind in ("table", "view") and name.lower() in _OURS:
                if kind == "view" or not sql.lstrip().upper().startswith("CREATE TABLE"):
                    what = "view" if kind == "view" else "virtual table"
                    raise InputError(
                        f"database {location.shown}: got a {what} {shown(name)}; expected a table. It is not one that "
                        "drbench made; name another with --db"
                    )
                if _is_computed(connection, name.lower()):
                    raise InputError(
                        f"database {location.shown}: got a computed column in {shown(name)}; expected none"
                    )
            if write and kind == "trigger" and table.lower() in _OURS:
                raise InputError(
                    f"database {location.shown}: got a trigger {shown(name)} on {shown(table)}; expected none. Drop "
                    "it, or name another with --db"
                )


def drop_foreign(engine: Engine) -> None:
    """Of a copy in memory: remove the triggers, and the views that drbench did not make."""
    with engine.begin() as connection:
        for kind, name, _, _ in _objects(connection):
            if kind == "trigger" or (kind == "view" and name not in ("results", "leaderboard", "runs")):
                quoted = name.replace('"', '""')
                connection.exec_driver_sql(f'DROP {kind} "{quoted}"')


def _objects(connection: Connection) -> list[tuple[str, str, str, str]]:
    """(kind, name, table, SQL) of all that is in the schema."""
    found = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master").all()
    return [(str(kind), str(name), str(table), str(sql or "")) for kind, name, table, sql in found]


def _is_computed(connection: Connection, table: str) -> bool:
    """Whether a table has generated columns."""
    return any(row[6] > 1 for row in connection.exec_driver_sql(f"PRAGMA table_xinfo('{table}')").all())
