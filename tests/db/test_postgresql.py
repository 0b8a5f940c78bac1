"""A PostgreSQL database does what a file does, by its URL; only `drbench db upgrade` makes or changes its tables."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from drbench_db import Store, migrate
from drbench_db.connection import _WRITERS
from drbench_db.schema import REVISIONS, VERSION_TABLE, Base
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool

from drbench.cli import main
from drbench.errors import FailedError, InputError

TABLES = (
    *("machine", "code", "suite", "run", "variant", "record"),
    *("measurement", "sample", "layer", "epoch", "prediction", "file"),
)
"""Those of schemas 0001 and 0002, in an order in which rows can go in."""
MOVED = {"prediction": "outcome"}
RENAMED = {
    ("epoch", "val_top1"): "val_score",
    ("prediction", "image_count"): "count",
    ("prediction", "true_class_rank"): "data",
}
TRUTHS = ("dirty", "synthetic")
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def drbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line; what it says holds no password."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["drbench"])

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        words = [str(argument) for argument in arguments]
        monkeypatch.setattr("sys.argv", ["drbench", *words])
        code = main(words)
        out, err = capfd.readouterr()
        for word in words:
            if "://" in word and make_url(word).password:
                assert str(make_url(word).password) not in out + err
        return code, out, err

    return run


@pytest.fixture
def made(url: str) -> str:
    """An empty database with drbench's tables."""
    Store.open(url, write=True, upgrade=True).close()
    return url


def connected(url: str) -> Any:
    at = make_url(url).set(drivername="postgresql+psycopg")
    return create_engine(at, isolation_level="AUTOCOMMIT", poolclass=NullPool).connect()


def execute(url: str, statement: str) -> list[Any]:
    with connected(url) as connection:
        result = connection.exec_driver_sql(statement)
        rows = list(result) if result.returns_rows else []
    return rows


def test_only_db_upgrade_makes_the_tables(url: str, drbench: Command, previous: Path) -> None:
    for words in (["runs", "list"], ["report"], ["show", "latest"], ["import", previous], ["runs", "rm", "x"]):
        code, _, err = drbench(*words, "--db", url)
        assert code == 2
        assert err.count("\n") == 1
        assert "has not the tables of drbench; `drbench db upgrade --db postgresql://" in err
    assert execute(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []
    code, out, _ = drbench("db", "upgrade", "--db", url)
    assert code == 0
    assert "has the current schema" in out
    assert drbench("runs", "list", "--db", url)[0] == 3
    assert drbench("db", "upgrade", "--db", url)[0] == 0, "twice is once"


def test_the_migrations_make_what_the_models_say(made: str) -> None:
    with connected(made) as connection:
        options = {"compare_type": True, "include_name": lambda name, kind, parents: name != VERSION_TABLE}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata) == []


def test_all_that_a_file_holds_goes_there_and_back(made: str, drbench: Command, previous: Path, tmp_path: Path) -> None:
    assert drbench("import", previous, "--db", made)[0] == 0
    assert "all 14 records exist already" in drbench("import", previous, "--db", made)[1]
    assert drbench("export", "--db", made, "-o", "back.db")[0] == 0
    with Store.open(previous) as before, Store.open(made) as there, Store.open(tmp_path / "back.db") as back:
        assert there.runs() == before.runs()
        assert back.runs() == before.runs()
        assert len(before.records()) == 22
        for run in before.runs():
            assert there.records(run.id) == before.records(run.id)
            assert back.records(run.id) == before.records(run.id)
            assert there.done_keys(run.id) == before.done_keys(run.id)
        assert there.counts() == before.counts()
    for words in (["report", "--format", "json"], ["runs", "list", "--json"]):
        assert json.loads(drbench(*words, "--db", made)[1]) == json.loads(drbench(*words, "--db", previous)[1])
    shown = drbench("show", "20261125-0219-previous", "--db", made)[1]
    assert shown == drbench("show", "20261125-0219-previous", "--db", previous)[1]
    with closing(sqlite3.connect(tmp_path / "back.db")) as file:
        for view in ("leaderboard", "results", "runs"):
            theirs = sorted(map(repr, file.execute(f"SELECT * FROM {view}").fetchall()))
            ours = [tuple(int(v) if v is True or v is False else v for v in row) for row in
                    execute(made, f"SELECT * FROM {view}")]  # fmt: skip
            assert sorted(map(repr, ours)) == theirs
    assert drbench("runs", "rm", "20261125-0219-ops", "--db", made)[0] == 0
    assert drbench("runs", "rm", "20261125-0219-previous", "--db", made)[0] == 0
    assert {execute(made, f'SELECT COUNT(*) FROM "{table}"')[0][0] for table in Base.metadata.tables} == {0}


def test_a_run_by_the_real_command(made: str, drbench: Command) -> None:
    words = ("run", "suite", "smoke", "--stages", "cost", "--threads", 1, "--db", made)
    code, out, err = drbench(*words)
    assert code == 0, err
    assert "2 done, 0 failed" in out
    assert "drbench report --run " in out
    with Store.open(made) as store:
        run = store.run()
        assert run.status == "done"
        assert ":***@" in run.command
        assert str(make_url(made).password) not in run.command
        assert [record.stage for record in store.records(run.id)] == ["cost", "cost"]
    assert "1 exist already" not in drbench("run", "--resume", "latest", "--db", made)[1]
    with Store.open(made) as store:
        assert len(store.records()) == 2, "what is done is not done again"


def _restored(url: str, earlier: Path) -> str:
    """The schema of the fixture on the server, with the rows of it as SQLite has them; returns the schema's name."""
    config = Config()
    config.set_main_option("script_location", str(migrate.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection, closing(sqlite3.connect(earlier)) as file:
        ((revision,),) = file.execute(f"SELECT version_num FROM {VERSION_TABLE}")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for table in TABLES:
            cursor = file.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in cursor.description]
            rows = [tuple(bool(v) if n in TRUTHS else v for n, v in zip(names, row, strict=True)) for row in cursor]
            places = ", ".join(["%s"] * len(names))
            connection.exec_driver_sql(f'INSERT INTO "{table}" VALUES ({places})', rows)
            if names[0] == "id" and table != "run":
                connection.exec_driver_sql(f"SELECT setval('{table}_id_seq', {len(rows)})")
    engine.dispose()
    return str(revision)


def _columns(url: str, table: str) -> str:
    found = execute(url, f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'")
    return ", ".join(sorted(name for (name,) in found))


def _rows(url: str, columns: Mapping[str, str], *, upgraded: bool = False) -> dict[str, list[str]]:
    """The rows of each table in those columns, under the names that they have had since schema 0003 if `upgraded`."""
    found = {}
    for table, names in columns.items():
        if upgraded:
            names = ", ".join(RENAMED.get((table, name), name) for name in names.split(", "))
        found[table] = sorted(
            map(repr, execute(url, f'SELECT {names} FROM "{(upgraded and MOVED.get(table)) or table}"'))
        )
    return found


def test_an_earlier_schema_is_brought_up_only_when_asked_for(url: str, drbench: Command, earlier: Path) -> None:
    revision = _restored(url, earlier)
    columns = {table: _columns(url, table) for table in TABLES}  # a later schema may have further ones
    before = _rows(url, columns)
    for words in (["runs", "list"], ["import", earlier]) if revision != REVISIONS[-1] else ():
        code, _, err = drbench(*words, "--db", url)
        assert code == 2
        assert f"has the older schema {revision}" in err
        assert "`drbench db upgrade --db postgresql://" in err
    assert drbench("db", "upgrade", "--db", url)[0] == 0
    assert execute(url, f"SELECT version_num FROM {VERSION_TABLE}") == [(REVISIONS[-1],)]
    assert _rows(url, columns, upgraded=True) == before
    with Store.open(earlier) as file, Store.open(url) as there:
        assert there.runs() == file.runs()
        assert there.records() == file.records()
    assert drbench("import", earlier, "--db", url)[1].count("records exist already") == 2


def test_a_newer_one_and_one_of_others_are_refused(url: str) -> None:
    execute(url, "CREATE TABLE run (theirs text)")
    with pytest.raises(InputError, match="belongs to another program"):
        Store.open(url, write=True, upgrade=True)
    execute(url, "DROP TABLE run")
    execute(url, "CREATE TABLE unrelated (theirs text)")
    Store.open(url, write=True, upgrade=True).close()
    execute(url, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    for options in ({}, {"write": True}, {"write": True, "upgrade": True}):
        with pytest.raises(InputError, match=r"newer than this drbench \(schema 9999"):
            Store.open(url, **options)


def test_a_lock_is_waited_for_and_then_reported(made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRBENCH_DB_TIMEOUT", "0.1")
    with Store.open(made, write=True) as store, connected(made) as other:
        other.exec_driver_sql(f"SELECT pg_advisory_lock({_WRITERS})")
        with pytest.raises(FailedError, match="is locked by another process"):
            store.end_run("x", "done")
        with Store.open(made) as reader:
            assert reader.runs() == (), "readers wait for nobody"
        other.exec_driver_sql(f"SELECT pg_advisory_unlock({_WRITERS})")
        with pytest.raises(InputError, match="no run 'x'"):
            store.end_run("x", "done")


KILL = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""


def test_a_connection_that_was_lost(made: str, previous: Path) -> None:
    with Store.open(previous) as file, Store.open(made, write=True) as store:
        run = file.runs()[0]
        store.begin_run(run)
        execute(made, KILL)
        records = file.records(run.id)
        store.add(run.id, records[0])  # between two commits nobody notices
        with pytest.raises(FailedError) as error, store._writing() as connection:  # noqa: PT012 - lost in the middle
            execute(made, KILL)
            connection.exec_driver_sql("SELECT 1")
        assert error.value.exit_code == 4
        assert "\n" not in str(error.value)
        assert "What was recorded is kept" in str(error.value)
        assert store.records(run.id) == records[:1]


def test_no_server(drbench: Command) -> None:
    pytest.importorskip("psycopg")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        code, _, err = drbench("runs", "list", "--db", f"postgresql://me:secret@127.0.0.1:{free.getsockname()[1]}/name")
    assert code == 4
    assert err.count("\n") == 1
    assert "postgresql://me:***@127.0.0.1" in err


def test_what_the_server_refuses(url: str, drbench: Command) -> None:
    at = make_url(url)
    for wrong, says in (
        (at.set(password="not-this-one"), "refused the user or the password"),
        (at.set(database="no_such_database"), 'database "no_such_database" does not exist'),
    ):
        code, _, err = drbench("runs", "list", "--db", wrong.render_as_string(hide_password=False))
        if code == 0 or (code == 2 and "has not the tables" in err):
            pytest.skip("this server lets everybody in")
        assert code == 2
        assert err.count("\n") == 1
        assert says in err


def test_a_user_who_may_only_read(made: str, previous: Path, drbench: Command) -> None:
    drbench("import", previous, "--db", made)
    with connected(made) as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS drbench_reader")
        connection.exec_driver_sql("CREATE ROLE drbench_reader LOGIN PASSWORD 'only-reads'")
        connection.exec_driver_sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO drbench_reader")
        reader = make_url(made).set(username="drbench_reader", password="only-reads").render_as_string(False)
        try:
            assert drbench("report", "--db", reader)[0] == 0
            code, _, err = drbench("runs", "rm", "20261125-0219-ops", "--db", reader)
            assert code == 2
            assert "does not let this user do that: permission denied" in err
        finally:
            connection.exec_driver_sql("DROP OWNED BY drbench_reader")
            connection.exec_driver_sql("DROP ROLE drbench_reader")
