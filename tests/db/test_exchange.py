"""Runs move between databases: what is missing is added, nothing comes twice, what differs is refused by name."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from drbench_db import Store

from drbench.errors import DrbenchError, InputError
from drbench.records import Code, Machine, Measurement, Outcomes, Record, Run, Variant

MACHINE = Machine("box", "Linux", "a CPU", 2, 4, 8 << 30)
RUN = Run("20260101-1200-demo-ab12", "demo", 'name = "demo"', "drbench run", "2026-01-01T12:00:00Z", MACHINE, Code("1"))
VARIANT = Variant("net", "drconv", {"regions": 8})


def record(number: int, status: str = "done") -> Record:
    return Record(
        *(f"key{number}", replace(VARIANT, width=number / 2), f"hash{number}", f"m={number}", "latency", status),
        *("2026-01-01T12:00:00Z", "2026-01-01T12:00:01Z"),
        measurements=(Measurement("latency", 0.1 * number, "s", samples=(0.1, float("nan"), number)),),
        outcomes=Outcomes("image", "rank-u8", 1, bytes([number])),
        files={"weights": "w"},
    )


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """A new database by name; `runs` map the run to its records."""
    opened = []

    def store(name: str, *records: Record, run: Run = RUN, status: str = "") -> Store:
        opened.append(one := Store.open(tmp_path / f"{name}.db", write=True))
        if records or status:
            one.begin_run(run)
            one.add_many(run.id, records)
        if status:
            one.end_run(run.id, status, f"2026-01-01T12:00:{len(records):02}Z")
        return one

    yield store
    for one in opened:
        one.close()


def content(store: Store) -> tuple[object, ...]:
    """All there is, comparable although NaN is not."""
    return (store.runs(), repr(store.records()))


def test_a_run_arrives_whole_and_only_once(make: Callable[..., Store]) -> None:
    source, target = make("source", record(1), record(2, "failed"), status="failed"), make("target")
    first = target.merge(RUN.id, source)
    assert (first.status, first.added, first.known) == ("failed", 2, 0)
    assert content(target) == content(source)
    again = target.merge(RUN.id, source)
    assert (again.status, again.added, again.known) == ("failed", 0, 2)
    assert content(target) == content(source)


def test_it_may_come_by_several_ways(make: Callable[..., Store]) -> None:
    source, between, target = make("source", record(1), status="done"), make("between"), make("target")
    between.merge(RUN.id, source)
    target.merge(RUN.id, between)
    assert target.merge(RUN.id, source).added == 0
    assert content(target) == content(source)


def test_the_machine_of_a_record_comes_along(make: Callable[..., Store]) -> None:
    elsewhere = replace(record(2), machine=replace(MACHINE, hostname="elsewhere"))
    source, target = make("source", record(1), elsewhere, status="done"), make("target")
    make("other", record(3), run=replace(RUN, id="x", machine=replace(MACHINE, hostname="x"))).close()
    target.begin_run(replace(RUN, id="first", machine=replace(MACHINE, hostname="first")))  # other row numbers
    target.merge(RUN.id, source)
    assert repr(target.records(RUN.id)) == repr(source.records())
    assert target.records(RUN.id)[1].machine == elsewhere.machine


def test_row_numbers_are_each_databases_own(make: Callable[..., Store]) -> None:
    other = replace(RUN, id="other", machine=replace(MACHINE, hostname="elsewhere"), suite_text="", code=Code("2"))
    target = make("target", record(3), record(1), run=other, status="done")
    source = make("source", record(1), record(2), record(3), status="done")
    target.merge(RUN.id, source)
    assert repr(target.records(RUN.id)) == repr(source.records(RUN.id))
    assert target.run(RUN.id) == source.run(RUN.id)
    assert repr([r.key for r in target.records("other")]) == repr(["key3", "key1"])


def test_a_run_that_was_exported_half_done_comes_again(make: Callable[..., Store]) -> None:
    source, target = make("source", record(1), record(2, "failed"), status="interrupted"), make("target")
    assert target.merge(RUN.id, source).status == "interrupted"
    source.reopen_run(RUN.id)
    source.add(RUN.id, record(2))
    assert (target.merge(RUN.id, source).added, target.run(RUN.id).status) == (1, "running")
    source.add(RUN.id, record(3))
    source.end_run(RUN.id, "done")
    assert (target.merge(RUN.id, source).added, target.run(RUN.id).status) == (1, "done")
    assert content(target) == content(source)


def test_an_older_export_takes_nothing_back(make: Callable[..., Store]) -> None:
    source, target = make("source", record(1), status="interrupted"), make("target")
    old = make("old")
    old.merge(RUN.id, source)
    source.reopen_run(RUN.id)
    source.add(RUN.id, record(2))
    source.end_run(RUN.id, "done", "2026-01-02T00:00:00Z")
    target.merge(RUN.id, source)
    assert target.merge(RUN.id, old).status == "done"
    assert content(target) == content(source)


def test_of_two_that_have_the_same_the_one_that_ended_says_how(make: Callable[..., Store]) -> None:
    source, target = make("source", record(1)), make("target")
    target.merge(RUN.id, source)
    assert target.run().status == "running"
    source.end_run(RUN.id, "done", "2026-01-02T00:00:00Z")
    assert target.merge(RUN.id, source).status == "done"
    source.reopen_run(RUN.id)
    assert target.merge(RUN.id, source).status == "done"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE measurement SET value = 7", "latency of m=1 differs"),
        ("UPDATE sample SET float64 = zeroblob(24)", "latency of m=1 differs"),
        ("UPDATE outcome SET data = x'05'", "latency of m=1 differs"),
        ("UPDATE record SET machine_id = (SELECT id FROM machine)", "latency of m=1 differs"),
        ("UPDATE record SET status = 'failed'", "latency of m=1 differs"),
        ("DELETE FROM file", "latency of m=1 differs"),
        ("UPDATE run SET command = 'another'", "another one than the run of this id .*: command differ"),
        ("UPDATE record SET uid = 'another' || id", "went on in two places: latency of m=1"),
    ],
)
@pytest.mark.parametrize("changed", ["source", "target"])
def test_what_differs_is_refused_and_stays(
    make: Callable[..., Store], tmp_path: Path, change: str, says: str, changed: str
) -> None:
    source, target = make("source", record(1), status="interrupted"), make("target")
    target.merge(RUN.id, source)
    source.add(RUN.id, record(2))
    with closing(sqlite3.connect(tmp_path / f"{changed}.db")) as connection, connection:
        connection.execute(change)
    before = content(target)
    with pytest.raises(InputError, match=rf"{RUN.id} .*{says}"):
        target.merge(RUN.id, source)
    assert content(target) == before


def test_a_run_is_another_where_it_ran_elsewhere(make: Callable[..., Store]) -> None:
    source = make("source", record(1), status="done")
    elsewhere = replace(RUN, machine=replace(MACHINE, hostname="elsewhere"), code=Code("2"))
    target = make("target", record(1), run=elsewhere, status="done")
    before = content(target)
    with pytest.raises(InputError, match=rf"{RUN.id} is another one than the run of this id .*: machine, code differ"):
        target.merge(RUN.id, source)
    assert content(target) == before


def test_a_run_that_cannot_be_kept_leaves_nothing(make: Callable[..., Store], tmp_path: Path) -> None:
    source, target = make("source", *map(record, range(1, 20)), status="done"), make("target")
    with closing(sqlite3.connect(tmp_path / "target.db")) as connection, connection:
        connection.execute(
            "CREATE TRIGGER late BEFORE INSERT ON record WHEN new.label = 'm=19' BEGIN SELECT RAISE(ABORT, 'late'); END"
        )
    with pytest.raises(DrbenchError, match="late"):
        target.merge(RUN.id, source)
    assert target.runs() == ()
    with closing(sqlite3.connect(tmp_path / "target.db")) as connection:
        assert connection.execute("SELECT COUNT(*) FROM variant").fetchone() == (0,)
