"""Migrations make the schema that the models describe, after a backup; readers never migrate."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from drbench_db import Store, migrate
from drbench_db.schema import REVISIONS, VERSION_TABLE, Base
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from drbench.errors import InputError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "drbench.db"
    Store.open(path, write=True).close()
    return path


def execute(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


def test_the_migrations_make_what_the_models_say(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        options = {"compare_type": True, "include_name": lambda name, kind, parents: name != VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_the_list_of_revisions_is_alembics() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    found = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(found)) == REVISIONS


def test_every_table_can_be_made_on_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in Base.metadata.sorted_tables:
        assert f"CREATE TABLE {table.name}" in str(CreateTable(table).compile(dialect=dialect))


@pytest.mark.parametrize("write", [False, True])
def test_a_newer_database_is_refused(path: Path, write: bool) -> None:
    execute(path, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"newer than this drbench \(schema 9999, known: .*upgrade drbench"):
        Store.open(path, write=write)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir() if "backup" in file.name] == []


_upgrade = migrate._alembic_upgrade


def test_a_backup_never_overwrites_another(path: Path) -> None:
    first, second = migrate.backup(path, "0001"), migrate.backup(path, "0001")
    assert (first.name, second.name) == ("drbench.db.backup-0001", "drbench.db.backup-0001.2")
    assert execute(second, f"SELECT version_num FROM {VERSION_TABLE}") == [(REVISIONS[-1],)]


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new.db"

    def half(connection: object) -> None:
        _upgrade(connection)  # type: ignore[arg-type]
        raise RuntimeError("in the middle")

    monkeypatch.setattr(migrate, "_alembic_upgrade", half)
    with pytest.raises(RuntimeError, match="in the middle"):
        Store.open(path, write=True)
    assert execute(path, "SELECT name FROM sqlite_master") == []


def test_two_writers_at_once_make_one_schema(tmp_path: Path) -> None:
    path, errors = tmp_path / "drbench.db", []

    def open_it() -> None:
        try:
            Store.open(path, write=True).close()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert execute(path, f"SELECT version_num FROM {VERSION_TABLE}") == [(REVISIONS[-1],)]
