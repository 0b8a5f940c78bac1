"""A damaged or foreign database: the damaged record is named, all others are shown, nothing is changed."""

from __future__ import annotations

import json
import random
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from drbench_db import Store

import drbench
from drbench.cli import main
from drbench.errors import DrbenchError
from tests import hostile_db
from tests.hostile_db import OPS, STRUCTURES, SUITE, put, put_key

RECORDS = 14
FIRST = f"run_id = '{SUITE}' AND id IN (SELECT record_id FROM measurement) ORDER BY id LIMIT 1"
ONE = f"id = (SELECT id FROM record WHERE {FIRST})"
ITS = f"record_id = (SELECT id FROM record WHERE {FIRST})"
VARIANT = f"id = (SELECT variant_id FROM record WHERE {FIRST})"


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return hostile_db.make(tmp_path / "a.db")


KINDS: dict[str, tuple[hostile_db.Change, str]] = {
    "a JSON column with null": (put("record", "settings", "null", ONE), "settings: got nothing; expected a table"),
    "a list for a table": (put("record", "settings", "[]", ONE), "settings: got a list of 0; expected a table"),
    "text for a table": (put("record", "settings", '"x"', ONE), "settings: got 'x'; expected a table"),
    "no JSON": (put("record", "settings", "{", ONE), "settings: got '{'; expected JSON"),
    "deep nesting": (put("record", "settings", "[" * 100_000, ONE), "expected JSON of at most 16 levels"),
    "900 tables in each other": (
        put("record", "settings", '{"a":' * 900 + "1" + "}" * 900, ONE),
        "expected JSON of at most 16 levels",
    ),
    "an integer of 5,000 digits": (put("record", "settings", f'{{"a": {"9" * 5000}}}', ONE), "expected JSON"),
    "NaN in JSON": (put("record", "settings", '{"a": NaN}', ONE), "expected JSON with finite numbers"),
    "infinity in JSON": (put("record", "settings", '{"a": 1e999}', ONE), "expected JSON with finite numbers"),
    "figures without a headline": (
        put_key("record", "settings", "figures", {"figures": [{"name": "accuracy"}]}, ONE),
        "settings.figures: got a table of 1; expected one of accuracy",
    ),
    "a number as the task": (put_key("record", "settings", "task", 3, ONE), "settings.task: got 3; expected text"),
    "a list in settings": (put_key("record", "settings", "data", [], ONE), "settings.data: got a list of 0"),
    "text in a number": (put("measurement", "value", "text", ITS), "value: got 'text'; expected a number"),
    "infinity": (put("measurement", "value", float("inf"), ITS), "value: got inf; expected a number"),
    "a huge number": (put("measurement", "value", 1e308, ITS), "value: got 1e+308; expected a number"),
    "no count": (put("measurement", "sample_count", None, ITS), "sample_count: got nothing; expected a whole number"),
    "a blob in text": (put("measurement", "unit", b"\xff", ITS), "unit: got 1 bytes; expected text"),
    "an unknown direction": (
        put("measurement", "direction", "up", ITS),
        "got 'up'; expected one of lower, higher, none",
    ),
    "a context that is a list": (
        put("measurement", "context", "[]", ITS),
        "context: got a list of 0; expected a table",
    ),
    "an interval of text": (put_key("measurement", "context", "interval", "x", ITS), "context.interval: got 'x'"),
    "an unknown status": (put("record", "status", "perhaps", ONE), "expected one of done, failed, interrupted"),
    "an unknown stage": (put("record", "stage", "x", ONE), "stage: got 'x'; expected one of cost, memory"),
    "a date that is none": (put("record", "finished", "2026-99-99T00:00:00Z", ONE), "expected a time, as in 2026"),
    "text that is not UTF-8": (put("record", "label", b"caf\xe9", ONE, text=True), "label: got 'caf\\udce9'"),
    "a seed of text": (put("record", "seed", "x", ONE), "seed: got 'x'; expected a whole number"),
    "no architecture": (
        put_key("variant", "definition", "architecture", ..., VARIANT),
        "definition.architecture: got no",
    ),
    "an input shape of text": (put_key("variant", "definition", "input_shape", "x", VARIANT), "expected a list"),
    "a variant that is gone": (
        lambda path: hostile_db.edit(path, f"UPDATE record SET variant_id = 999 WHERE {ONE}"),
        "variant: got nothing; expected a variant that is in the database",
    ),
}
ONLY_WHOLE: dict[str, tuple[hostile_db.Change, str]] = {
    "notes that are a table": (put("record", "notes", "{}", ONE), "notes: got a table of 0; expected a list"),
    "samples of odd length": (put("sample", "float64", b"seven b", "1"), "float64: got 7 bytes; expected doubles"),
    "samples as text": (put("sample", "float64", "text", "1"), "float64: got 'text'; expected doubles"),
    "fewer samples than counted": (put("sample", "float64", bytes(8), "1"), "as its measurement says"),
    "a layer of text": (put("layer", "params", "many", "1"), "params: got 'many'; expected a whole number"),
    "an output shape of text": (put("layer", "output_shape", '["x"]', "1"), "output_shape[0]: got 'x'"),
    "an epoch's loss of text": (put("epoch", "train_loss", "low", "1"), "train_loss: got 'low'; expected a number"),
    "outcomes of other images": (put("outcome", "count", 1, "1"), "expected 1, for 1 values of rank-u8"),
}
"""What a report does not read."""


def run(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capfd.readouterr()
    code = main([str(word) for word in words])
    out, err = capfd.readouterr()
    assert all(one.isprintable() or one == "\n" for one in err), err
    return code, out, err


@pytest.mark.parametrize(("change", "says"), KINDS.values(), ids=KINDS)
def test_a_damaged_record_is_named_and_the_others_are_shown(
    capfd: pytest.CaptureFixture[str], db: Path, change: hostile_db.Change, says: str
) -> None:
    with Store.open(db) as store:
        good = store.records(SUITE)
    change(db)
    before = db.read_bytes()
    with Store.open(db) as store:
        found = store.records(SUITE)
        whole = store.rows(run=SUITE)[0]["record"]
        for line in store.damages.lines():
            assert line.startswith(f"database {db}: run {SUITE}, record ")
            assert says in line
    assert 1 <= len(found) < RECORDS
    assert [record for record in found if record in good] == list(found), "what is shown is as it was"
    assert len(whole) == len(found), "a report and the run leave out the same"
    code, out, err = run(capfd, "show", SUITE, "--db", db)
    assert code == 4
    assert says in err
    assert out.count("\n") > 10
    assert db.read_bytes() == before, "nothing is changed"


@pytest.mark.parametrize(("change", "says"), ONLY_WHOLE.values(), ids=ONLY_WHOLE)
def test_what_hangs_on_a_record(db: Path, change: hostile_db.Change, says: str) -> None:
    change(db)
    with Store.open(db) as store:
        assert len(store.records()) < RECORDS + 8
        assert says in store.damages.lines()[0]


def test_every_verb_says_it_in_its_way(capfd: pytest.CaptureFixture[str], db: Path) -> None:
    put("record", "settings", "[]", ONE)(db)
    named = f"run {SUITE}, record "
    for verb in (["report"], ["report", "--format", "json"], ["show", SUITE, "--json"], ["export", "-o", "out.db"]):
        code, out, err = run(capfd, *verb, "--db", db)
        assert (code, err.count("\n")) == (4, 1), err
        assert err.startswith(f"drbench: warning: database {db}: {named}")
        assert out
    with Store.open("out.db") as store:
        assert len(store.records(SUITE)) == RECORDS - 1
        assert len(store.records(OPS)) == 8
    code, out, err = run(capfd, "import", db, "--db", "in.db")
    assert (code, err.count("\n")) == (4, 1)
    assert named in err
    assert out.startswith(f"run {OPS} done: 8 records added")
    with Store.open("in.db") as store:
        assert [one.id for one in store.runs()] == [OPS]
    for verb in (["baseline", "save", "--run", SUITE], ["check", "--run", SUITE, "--against", SUITE]):
        code, out, err = run(capfd, *verb, "--db", db)
        assert (code, err.count("\n"), out) == (4, 1, ""), err
        assert named in err
    assert not Path("drbench.baseline.json").exists()
    assert run(capfd, "compare", SUITE, OPS, "--db", db)[0] in (3, 4)


def test_a_damaged_run_is_named_and_can_be_removed(capfd: pytest.CaptureFixture[str], db: Path) -> None:
    put("run", "status", "lost", f"id = '{SUITE}'")(db)
    code, out, err = run(capfd, "runs", "list", "--db", db)
    assert code == 4
    assert f"run {SUITE}: status: got 'lost'; expected one of running, done, failed, interrupted; left out" in err
    assert OPS in out
    assert SUITE not in out
    code, out, err = run(capfd, "show", SUITE, "--db", db)
    assert (code, out) == (4, "")
    assert "got 'lost'" in err
    assert run(capfd, "runs", "rm", SUITE, "--db", db)[0] == 0
    assert run(capfd, "runs", "list", "--db", db)[0] == 0


def test_many_are_counted(db: Path) -> None:
    put("record", "status", "x")(db)
    with Store.open(db) as store:
        assert store.records() == ()
        lines = store.damages.lines()
    assert len(lines) == 11
    assert lines[-1] == "and 12 more"


def test_load_warns(db: Path) -> None:
    put("record", "status", "x", ONE)(db)
    with pytest.warns(UserWarning, match=rf"run {SUITE}, record \d+: status: got 'x'"):
        frame = drbench.load(db)
    assert frame["record"].nunique() == RECORDS + 8 - 1


@pytest.mark.parametrize("name", STRUCTURES)
def test_no_structure_hangs_or_is_our_fault(capfd: pytest.CaptureFixture[str], db: Path, name: str) -> None:
    hostile_db._run(STRUCTURES[name], db)
    assert run(capfd, "runs", "list", "--db", db)[0] in (0, 2, 3, 4)
    for verb in (["report"], ["show", SUITE]):
        code, _, err = run(capfd, *verb, "--db", db)
        assert code in ((0, 4) if name in FINE else (2, 3, 4)), (verb, err)
    code, _, err = run(capfd, "import", db, "--db", "in.db")
    assert code in ((0, 4) if name in FINE else (2, 3, 4)), err


FINE = ("a trigger", "no record", "no samples", "no measurement", "no variant", "two records of one number")
"""What is left is right, or read without looking at it."""


@pytest.mark.parametrize("name", ["a view for a table", "views without end", "a view that never ends"])
def test_a_view_is_no_table(capfd: pytest.CaptureFixture[str], db: Path, name: str) -> None:
    hostile_db._run(STRUCTURES[name], db)
    code, _, err = run(capfd, "show", SUITE, "--db", db)
    assert code == 2
    assert "got a view 'epoch'; expected a table" in err


def test_triggers_do_not_run(capfd: pytest.CaptureFixture[str], db: Path) -> None:
    hostile_db._run(STRUCTURES["a trigger"], db)
    assert run(capfd, "import", db, "--db", "in.db")[0] == 0
    assert run(capfd, "export", "--db", db, "-o", "out.db")[0] == 0
    hostile_db.make(db.with_name("good.db"))
    code, _, err = run(capfd, "import", "good.db", "--db", db)
    assert code == 2
    assert "got a trigger 'own' on 'record'; expected none" in err


SOME = [(n, *one) for n, one in enumerate(islice(hostile_db.mutations(random.Random(20261126)), 12))]


@pytest.mark.parametrize(("number", "name", "change"), SOME, ids=lambda value: str(value) if type(value) is int else "")
def test_no_mutation_is_our_fault(
    capfd: pytest.CaptureFixture[str], db: Path, number: int, name: str, change: Callable[[Path], Any]
) -> None:
    try:
        change(db)
    except Exception as error:  # SQLite itself did not let it happen
        pytest.skip(f"{name}: {error}")
    for verb in (["report"], ["show", SUITE, "--json"], ["import", db, "--db", "in.db"]):
        words = verb if verb[0] == "import" else [*verb, "--db", db]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            code, _, err = run(capfd, *words)
        assert code in (0, 2, 3, 4), (number, name, err)
        assert code == 0 or err


def test_a_store_says_what_it_cannot_look_for(db: Path) -> None:
    with Store.open(db) as store, pytest.raises(DrbenchError):
        store.records("\ud800")


def test_the_database_itself_is_right(db: Path) -> None:
    with Store.open(db) as store:
        assert len(store.records()) == RECORDS + 8
        store.rows()
        store.counts()
        assert not store.damages
        assert json.dumps(store.counts())
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_schema_whose_error_is_not_utf8(capfd: pytest.CaptureFixture[str], db: Path) -> None:
    content = db.read_bytes()
    assert b"tablelayerlayer" in content
    db.write_bytes(
        content.replace(b"tablelayerlayer", b"tablel\xe9yerlayer").replace(b"CREATE TABLE layer", b"CREXTE TABLE layer")
    )
    with closing(sqlite3.connect(db)) as connection, pytest.raises(UnicodeDecodeError):  # as SQLite's module says it
        connection.execute("SELECT * FROM sqlite_master")
    for verb in (["report"], ["show"], ["runs", "list"], ["export", "-o", "b.db"]):
        assert main([*verb, "--db", str(db)]) == 4
        assert "is damaged (its schema is not UTF-8)" in capfd.readouterr().err
