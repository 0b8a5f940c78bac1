"""A database of any earlier schema loses nothing: each record is held against what sqlite3 alone reads in it."""

from __future__ import annotations

import json
import math
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from drbench_db import Store, location, migrate
from drbench_db.connection import copy_of
from drbench_db.schema import REVISIONS, VERSION_TABLE

from drbench.errors import FailedError
from drbench.records import Code, Epoch, LayerCost, Machine, Measurement, Outcomes, Record, Run, Variant
from drbench.report import render

TABLES = ("machine", "code", "suite", "run", "variant", "measurement", "sample", "layer", "epoch", "prediction", "file")

MOVED = {"prediction": "outcome"}
RENAMED = {
    ("epoch", "val_top1"): "val_score AS val_top1",
    ("prediction", "image_count"): "count AS image_count",
    ("prediction", "true_class_rank"): "data AS true_class_rank",
}
"""What schema 0003 calls otherwise."""


def select(path: Path, statement: str, *values: object) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(statement, values)]


def number(value: float | None) -> float:
    return math.nan if value is None else value


def by_hand(path: Path) -> tuple[list[Run], list[Record]]:
    """Runs and records of schemas 0001 and 0002, column by column, without drbench's database code."""
    runs = []
    for row in select(path, "SELECT * FROM run ORDER BY started DESC, id DESC"):
        (suite,) = select(path, "SELECT name, text FROM suite WHERE id = ?", row["suite_id"])
        (machine,) = select(path, "SELECT * FROM machine WHERE id = ?", row["machine_id"])
        (code,) = select(path, "SELECT * FROM code WHERE id = ?", row["code_id"])
        runs.append(
            Run(
                id=row["id"],
                suite=suite["name"],
                suite_text=suite["text"],
                command=row["command"],
                started=row["started"],
                finished=row["finished"],
                status=row["status"],
                machine=Machine(**{name: value for name, value in machine.items() if name not in ("id", "hash")}),
                code=Code(code["drbench"], code["repository"], code["commit_hash"], bool(code["dirty"])),
            )
        )
    return runs, [_record(path, row) for row in select(path, "SELECT * FROM record ORDER BY id")]


def _record(path: Path, row: dict[str, Any]) -> Record:
    def hanging(table: str, order: str = "position") -> list[dict[str, Any]]:
        return select(path, f"SELECT * FROM {table} WHERE record_id = ? ORDER BY {order}", row["id"])

    (variant,) = select(path, "SELECT hash, definition FROM variant WHERE id = ?", row["variant_id"])
    definition = json.loads(variant["definition"])
    for name in ("where", "input_shape"):
        definition[name] = tuple(definition[name])
    samples = {s["position"]: struct.unpack(f"<{len(s['float64']) // 8}d", s["float64"]) for s in hanging("sample")}
    return Record(
        key=row["work_key"],
        variant=Variant(**definition),
        variant_hash=variant["hash"],
        label=row["label"],
        stage=row["stage"],
        status=row["status"],
        started=row["started"],
        finished=row["finished"],
        seed=row["seed"],
        error=row["error"],
        settings=json.loads(row["settings"]),
        measurements=tuple(
            Measurement(
                m["name"],
                number(m["value"]),
                m["unit"],
                m["direction"],
                m["part"],
                samples.get(m["position"], ()),
                json.loads(m["context"]),
            )
            for m in hanging("measurement")
        ),
        layers=tuple(
            LayerCost(
                layer["name"],
                layer["kind"],
                tuple(json.loads(layer["output_shape"])),
                layer["madds"],
                layer["executed"],
                layer["params"],
                json.loads(layer["parts"]),
            )
            for layer in hanging("layer")
        ),
        epochs=tuple(
            Epoch(
                e["number"],
                number(e["train_loss"]),
                e["val_loss"],
                e["val_top1"],
                e["learning_rate"],
                e["images_per_second"],
                e["seconds"],
            )
            for e in hanging("epoch", "number")
        ),
        outcomes=next(
            (
                Outcomes("image", "rank-u8", p["image_count"], p["true_class_rank"])
                for p in hanging("prediction", "record_id")
            ),
            None,
        ),
        notes=tuple(json.loads(row["notes"])),
        files={f["name"]: f["path"] for f in hanging("file", "name")},
    )


def test_the_fixture_holds_what_matters(earlier: Path) -> None:
    runs, records = by_hand(earlier)
    assert [run.suite for run in runs] == ["ops", "previous"]
    assert {record.stage for record in records} >= {"cost", "latency", "train", "ops"}
    assert {record.status for record in records} == {"done", "failed"}
    assert any(record.epochs and record.outcomes for record in records)
    assert any(m.samples for record in records for m in record.measurements)


def test_a_writer_upgrades_it_after_a_backup_and_loses_nothing(earlier: Path) -> None:
    ((revision,),) = (row.values() for row in select(earlier, f"SELECT * FROM {VERSION_TABLE}"))
    runs, records = by_hand(earlier)
    rows = {table: select(earlier, f"SELECT * FROM {table}") for table in (*TABLES, "record")}
    with Store.open(earlier, write=True) as store:
        assert store.backup == (
            None if revision == REVISIONS[-1] else earlier.with_name(f"previous.db.backup-{revision}")
        )
        assert list(store.runs()) == runs
        assert list(store.records()) == records
        backup = store.backup
    for table, old in rows.items():  # a later schema may have further columns
        columns = ", ".join(RENAMED.get((table, name), name) for name in old[0])
        assert select(earlier, f"SELECT {columns} FROM {MOVED.get(table, table)}") == old, table
    assert len({row["uid"] for row in select(earlier, "SELECT uid FROM record")}) == len(records)
    assert backup is None or by_hand(backup) == (runs, records)
    assert select(earlier, f"SELECT * FROM {VERSION_TABLE}") == [{"version_num": REVISIONS[-1]}]
    with Store.open(earlier, write=True) as store:
        assert store.backup is None, "what is up to date is not copied again"


def test_copies_that_are_upgraded_apart_agree_on_what_a_record_is_called(earlier: Path) -> None:
    copy = earlier.with_name("copy.db")
    copy.write_bytes(earlier.read_bytes())
    for path in (earlier, copy):
        Store.open(path, write=True).close()
    wanted = "SELECT id, uid FROM record"
    assert select(earlier, wanted) == select(copy, wanted)


def test_a_reader_reads_it_and_leaves_it_as_it_is(earlier: Path) -> None:
    runs, records = by_hand(earlier)
    before = {file.name: file.read_bytes() for file in earlier.parent.iterdir()}
    with Store.open(earlier) as store:
        assert store.name == str(earlier)
        assert list(store.runs()) == runs
        assert list(store.records()) == records
        assert len(store.rows()[0]["record"]) == len(records)
    assert {file.name: file.read_bytes() for file in earlier.parent.iterdir()} == before


def test_its_figures_are_the_same_after_the_upgrade(earlier: Path) -> None:
    before = render(earlier, format="json")
    Store.open(earlier, write=True).close()
    assert render(earlier, format="json") == before


def test_a_reader_of_one_that_is_locked_does_not_wait_for_ever(earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRBENCH_DB_TIMEOUT", "0.05")
    with closing(sqlite3.connect(earlier, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=delete")
        where = location.locate(earlier)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(FailedError, match="is locked by another process"):
            copy_of(where)


def test_a_reader_sees_what_is_still_in_its_log(earlier: Path) -> None:
    with closing(sqlite3.connect(earlier)) as writer:
        writer.execute("UPDATE run SET status = 'interrupted' WHERE id LIKE '%previous%'")
        writer.commit()
        with Store.open(earlier) as store:
            assert [run.status for run in store.runs()] == ["done", "interrupted"]


def test_work_that_was_measured_again_stays(previous: Path) -> None:
    """What an earlier version did where it went on with a latency experiment that was done in part."""
    with closing(sqlite3.connect(previous)) as connection, connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(record)") if row[1] != "id"]
        ids = [row[0] for row in connection.execute("SELECT id FROM record WHERE status = 'done' AND stage = 'cost'")]
        for number_ in ids:
            for _ in range(2):
                columns = ", ".join(names)
                connection.execute(
                    f"INSERT INTO record ({columns}) SELECT {columns} FROM record WHERE id = ?", (number_,)
                )
    _, records = by_hand(previous)
    with Store.open(previous, write=True) as store:
        found = store.records()
        keys = store.done_keys(store.run("20261125-0219-previous").id)
    first = len(records) - 2 * len(ids)
    assert len(found) == len(records)
    assert [(r.label, r.stage, r.status, r.measurements) for r in found] == [
        (r.label, r.stage, r.status, r.measurements) for r in records
    ]
    assert [r.key for r in found[:first]] == [r.key for r in records[:first]]
    assert all(new.key.startswith(f"{old.key}#") for new, old in zip(found[first:], records[first:], strict=True))
    assert {r.key for r in records if r.status == "done" and r.stage != "ops"} <= keys


def test_an_upgrade_that_fails_leaves_all_as_it_was(earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = select(earlier, f"SELECT * FROM {VERSION_TABLE}")
    if version == [{"version_num": REVISIONS[-1]}]:
        pytest.skip("the current schema: there is nothing to upgrade")
    real = migrate._alembic_upgrade

    def half(connection: Any) -> None:
        real(connection)
        raise RuntimeError("in the middle")

    before = by_hand(earlier)
    monkeypatch.setattr(migrate, "_alembic_upgrade", half)
    with pytest.raises(RuntimeError, match="in the middle"):
        Store.open(earlier, write=True)
    assert by_hand(earlier) == before
    assert select(earlier, f"SELECT * FROM {VERSION_TABLE}") == version
