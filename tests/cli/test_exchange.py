"""`drbench export` and `drbench import` through the command: machines' files, shards, what is refused, old files."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drbench_db import Store

Command = Callable[..., Any]
PAGE = Path(__file__).parents[2] / "docs" / "database.md"
DUMP = Path(__file__).parents[1] / "db" / "fixtures" / "schema-0001.sql"
SUITE, OPS = "20261125-0219-previous-a02c", "20261125-0219-ops-8af5ba6f"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file of the previous schema with two runs."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(DUMP.read_text(encoding="utf-8"))
    return path


def tables(drbench: Command, db: object, *options: object) -> Any:
    return json.loads(drbench("report", "--db", db, "--format", "json", *options).out)


def test_a_run_goes_from_one_file_to_another(drbench: Command, old: Path) -> None:
    found = drbench("export", "--db", old, "--run", "latest", "-o", "one.db")
    assert (found.code, found.out.splitlines()[0]) == (0, f"run {OPS} done: 8 records added")
    assert "drbench import one.db" in found.out
    found = drbench("import", "one.db", old)
    assert found.code == 0
    assert found.out.splitlines() == [
        f"run {OPS} done: 8 records added",
        f"run {SUITE} failed: 14 records added",
        f"run {OPS} done: all 8 records exist already",
        "see the results: drbench report",
    ]
    assert tables(drbench, "drbench.db") == tables(drbench, old)
    assert drbench("show", SUITE).out == drbench("show", SUITE, "--db", old).out


def test_an_export_adds_to_a_file(drbench: Command, old: Path) -> None:
    for runs in (["--run", SUITE], [], ["--run", SUITE, "--run", OPS, "--run", SUITE]):
        assert drbench("export", "--db", old, "-o", "out.db", *runs).code == 0
    with Store.open("out.db") as store:
        assert {run.id for run in store.runs()} == {SUITE, OPS}
        assert len(store.records()) == 22


def test_an_old_file_that_nobody_may_write_is_reported_and_exported(drbench: Command, old: Path) -> None:
    before = old.read_bytes()
    old.chmod(0o444)
    assert len(tables(drbench, old)["tables"]) == 1
    assert drbench("export", "--db", old, "-o", "new.db").code == 0
    assert old.read_bytes() == before
    assert tables(drbench, "new.db") == tables(drbench, old)
    assert not [name for name in os.listdir(old.parent) if "backup" in name]


def test_shards_that_come_together_report_what_one_run_does(drbench: Command, old: Path, tmp_path: Path) -> None:
    with Store.open(old) as store:
        run, records = store.run(SUITE), store.records(SUITE)
    for number in range(3):
        with Store.open(tmp_path / f"shard{number}.db", write=True) as shard:
            shard.begin_run(replace(run, id=f"{run.id}-{number}"))
            shard.add_many(f"{run.id}-{number}", records[number::3])
            shard.end_run(f"{run.id}-{number}", "done")
    assert drbench("import", "shard2.db", "shard0.db", "shard1.db", "--db", "all.db").code == 0
    (whole,) = tables(drbench, old, "--suite", "previous")["tables"]
    (found,) = tables(drbench, "all.db")["tables"]
    assert found["rows"] == whole["rows"]
    assert len(found["rows"]) == 5


def test_a_run_that_differs_is_refused_by_name_and_the_others_go_in(drbench: Command, old: Path) -> None:
    assert drbench("import", old, "--db", "here.db").code == 0
    assert drbench("runs", "rm", OPS, "--db", "here.db").code == 0
    with closing(sqlite3.connect("here.db")) as connection, connection:
        connection.execute("UPDATE measurement SET value = value + 1 WHERE name = 'madds'")
    before = tables(drbench, "here.db")
    found = drbench("import", old, "--db", "here.db")
    assert found.code == 2
    assert found.err.count("\n") == 1
    assert f"1 of 2 runs were refused: run {SUITE} is in here.db with other content: cost of conv differs" in found.err
    assert found.out == f"run {OPS} done: 8 records added\n"
    assert tables(drbench, "here.db", "--run", SUITE)["tables"] == before["tables"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["import"], 2, "Missing argument"),
        (["import", "missing.db"], 2, "got 'missing.db'; expected a file. No such file"),
        (["import", "."], 2, "got '.', a directory; expected a file"),
        (["import", "empty"], 2, "is neither JSON nor a drbench database"),
        (["import", "theirs.db"], 2, "has not the tables of drbench"),
        (["import", "none.db"], 3, "none.db holds no runs"),
        (["import", "newer.db"], 2, "newer than this drbench (schema 9999, known: 0003); upgrade drbench"),
        (["import", "old.db", "--db", "newer.db"], 2, "newer than this drbench"),
        (["report", "--db", "newer.db"], 2, "newer than this drbench"),
        (["db", "upgrade", "--db", "newer.db"], 2, "newer than this drbench"),
        (["import", "old.db", "--db", "theirs.db"], 2, "belongs to another program"),
        (["import", "postgresql://me:secret@host:x/y"], 2, "cannot be read"),
        (["export", "--db", "old.db"], 2, "Missing option"),
        (["export", "--db", "none.db", "-o", "x.db"], 3, "holds no runs"),
        (["export", "--db", "missing.db", "-o", "x.db"], 2, "there is no database"),
        (["export", "--db", "old.db", "--run", "2027", "-o", "x.db"], 2, "no run '2027'"),
        (["export", "--db", "old.db", "--run", "2026", "-o", "x.db"], 2, "several runs begin with '2026'"),
        (["export", "--db", "old.db", "-o", "theirs.db"], 2, "belongs to another program"),
        (["export", "--db", "old.db", "-o", "text"], 2, "a file of another kind"),
        (["export", "--db", "old.db", "-o", "no/x.db"], 2, "which does not exist; expected an existing one"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    drbench: Command, old: Path, arguments: list[str], code: int, says: str
) -> None:
    Path("empty").touch()
    Path("text").write_text("this is no database")
    for name in ("none.db", "newer.db"):
        Store.open(name, write=True).close()
    with closing(sqlite3.connect("newer.db")) as connection, connection:
        connection.execute("UPDATE drbench_revision SET version_num = '9999'")
    with closing(sqlite3.connect("theirs.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    found = drbench(*arguments)
    assert found.code == code
    assert found.err.count("\n") == 1
    assert says in found.err
    assert "secret" not in found.err
    assert not Path("x.db").exists()


def test_the_commands_of_the_page(drbench: Command, old: Path) -> None:
    old.rename("drbench.db")
    (block,) = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    commands = [shlex.split(line) for line in block.splitlines()]
    assert [words[1] for words in commands] == ["export", "import", "report"]
    for words in commands:
        found = drbench(*words[1:])
        assert found.code == 0, found.err


def test_a_file_is_imported_into_itself_without_harm(drbench: Command, old: Path) -> None:
    assert drbench("import", old).code == 0
    found = drbench("import", "drbench.db")
    assert found.code == 0
    assert found.out.count("exist already") == 2


@pytest.mark.parametrize("bad", ["missing.db", "empty", "text.json", "foreign.json", "none.db"])
def test_nothing_is_created_before_all_inputs_are_read(drbench: Command, old: Path, tmp_path: Path, bad: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text.json").write_bytes('{"format": "drbench-ops", "Größe": 1}'.encode("latin-1"))
    (tmp_path / "foreign.json").write_text('{"format": "another"}')
    Store.open(tmp_path / "none.db", write=True).close()
    found = drbench("import", old, bad, "--db", "x.db")
    assert found.code == (3 if bad == "none.db" else 2)
    assert len(found.err.splitlines()) == 1
    assert not (tmp_path / "x.db").exists()


def test_runs_rm_creates_no_database(drbench: Command, tmp_path: Path) -> None:
    found = drbench("runs", "rm", "latest", "--db", "x.db")
    assert (found.code, list(tmp_path.iterdir())) == (2, [])
    assert "there is no database x.db" in found.err
