"""The store gives back what it was given, commits at once, and says in one line what is wrong."""

from __future__ import annotations

import math
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drbench_db import Store

from drbench.errors import DrbenchError, FailedError, InputError, NothingError
from drbench.records import Code, Epoch, LayerCost, Machine, Measurement, Outcomes, Record, Run, Variant

MACHINE = Machine("box", "Linux", "a CPU", 2, 4, 8 << 30, gpu="a GPU", torch="2.11")
RUN = Run(
    "20260101-1200-smoke-ab12", "smoke", 'name = "smoke"', "drbench run", "2026-01-01T12:00:00Z", MACHINE, Code("1")
)
VARIANT = Variant("net", "drconv", {"regions": 8, "experts": 4}, where=("a.*", "b"), input_shape=(3, 32, 32), width=0.5)
RECORD = Record(
    key="key",
    variant=VARIANT,
    variant_hash="hash",
    label="drconv m=8",
    stage="train",
    status="done",
    started="2026-01-01T12:00:00Z",
    finished="2026-01-01T12:00:01Z",
    seed=3,
    settings={"data": {"name": "cifar10", "val_fraction": 0.1}, "train": {"preset": "quick"}},
    measurements=(
        Measurement("latency", 2.0, "s", "lower", "", (3.0, 1.0, 2.0), {"batch_size": 8, "threads": 2, "path": "x"}),
        Measurement("madds", 12_345_678_901, "multiply-adds", "lower", "guide"),
    ),
    layers=(
        LayerCost("conv", "Conv2d", (8, 4, 4), None, 1 << 40, 5, {"guide": 3}),
        LayerCost("fc", "Linear", (2,), 1, 1, 1),
    ),
    epochs=(Epoch(1, 2.5, None, 0.25, 0.1, 100.0, 3.0), Epoch(2, 1.5, 1.25, 0.5, 0.05, 100.0, 3.0)),
    outcomes=Outcomes("image", "rank-u8", 3, bytes([0, 1, 255])),
    notes=("a note",),
    files={"weights": "w.safetensors"},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "drbench.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path, write=True) as opened:
        opened.begin_run(RUN)
        yield opened


def test_a_record_comes_back_as_it_went_in(store: Store) -> None:
    store.add(RUN.id, RECORD)
    bare = replace(
        RECORD, status="failed", error="why", seed=None, measurements=(), layers=(), epochs=(), outcomes=None
    )
    store.add(RUN.id, replace(bare, notes=(), files={}, settings={}))
    first, second = store.records(RUN.id)
    assert first == RECORD
    assert second == replace(bare, notes=(), files={}, settings={})


def test_what_is_not_a_number_comes_back_as_such(store: Store) -> None:
    diverged = replace(
        RECORD,
        measurements=(Measurement("top1", math.nan, "fraction", samples=(1.0, math.nan, math.inf)),),
        epochs=(Epoch(1, math.nan, None, None, 0.1, 1.0, 1.0),),
    )
    store.add(RUN.id, diverged)
    (found,) = store.records(RUN.id)
    assert math.isnan(found.measurements[0].value)
    assert np.array_equal(found.measurements[0].samples, [1.0, math.nan, math.inf], equal_nan=True)
    assert math.isnan(found.epochs[0].train_loss)


def test_records_are_selected(store: Store) -> None:
    store.begin_run(replace(RUN, id="other"))
    store.add(RUN.id, RECORD)
    store.add(RUN.id, replace(RECORD, stage="cost", status="failed"))
    store.add("other", RECORD)
    assert len(store.records()) == 3
    assert [record.stage for record in store.records(RUN.id)] == ["train", "cost"]
    assert [record.stage for record in store.records(RUN.id, stage="cost")] == ["cost"]
    assert [record.stage for record in store.records(status="done")] == ["train", "train"]
    assert store.records("other", samples=False)[0].measurements[0].samples == ()
    assert store.counts() == {RUN.id: {"done": 1, "failed": 1}, "other": {"done": 1}}


def test_samples_are_little_endian_doubles_and_their_spread_is_numpys(path: Path, store: Store) -> None:
    samples = tuple(np.random.default_rng(0).exponential(size=37).tolist())
    store.add(RUN.id, replace(RECORD, measurements=(Measurement("latency", 1.0, "s", samples=samples),)))
    with closing(sqlite3.connect(path)) as reader:
        blob = reader.execute("SELECT float64 FROM sample").fetchone()[0]
        row = reader.execute("SELECT sample_count, spread_low, spread_high, p90, p99 FROM measurement").fetchone()
    assert struct.unpack(f"<{len(samples)}d", blob) == samples
    assert row[0] == 37
    np.testing.assert_allclose(row[1:], np.quantile(samples, [0.25, 0.75, 0.9, 0.99]), rtol=1e-12)


def test_a_record_is_there_for_others_at_once_and_survives_a_kill(path: Path) -> None:
    program = f"""
import os
from tests_store import RECORD, RUN
from drbench_db import Store
store = Store.open({str(path)!r}, write=True)
store.begin_run(RUN)
store.add(RUN.id, RECORD)
os.kill(os.getpid(), 9)
"""
    here = path.with_name("tests_store.py")
    here.write_text(Path(__file__).read_text().split("@pytest.fixture")[0])
    done = subprocess.run([sys.executable, "-c", program], cwd=path.parent, check=False)
    assert done.returncode == -9
    assert path.with_name(path.name + "-wal").exists(), "the record is in the write-ahead log alone"
    with Store.open(path) as reader:
        assert reader.records(RUN.id) == (RECORD,)
        assert reader.done_keys(RUN.id) == {"key"}
        assert reader.run().status == "running"


def test_a_run_begins_ends_and_goes_on(store: Store) -> None:
    assert store.run("latest") == RUN
    store.end_run(RUN.id, "interrupted", "2026-01-01T13:00:00Z")
    assert store.run(RUN.id) == replace(RUN, status="interrupted", finished="2026-01-01T13:00:00Z")
    assert store.reopen_run(RUN.id) == RUN
    store.end_run(RUN.id, "done")
    assert len(store.run().finished) == len(RUN.started)
    with pytest.raises(InputError, match=r"already; continue it with --resume"):
        store.begin_run(RUN)
    with pytest.raises(InputError, match="no run 'nothing'"):
        store.end_run("nothing", "done")
    with pytest.raises(InputError, match="no run 'nothing'"):
        store.add("nothing", RECORD)


def test_only_what_is_done_is_left_out_of_resuming(store: Store) -> None:
    store.add(RUN.id, replace(RECORD, key="a"))
    store.add(RUN.id, replace(RECORD, key="b", status="failed"))
    store.add(RUN.id, replace(RECORD, key="c", status="interrupted"))
    assert store.done_keys(RUN.id) == {"a"}


def test_no_work_is_kept_twice(store: Store) -> None:
    store.add(RUN.id, replace(RECORD, status="failed"))
    store.add(RUN.id, RECORD)
    store.begin_run(replace(RUN, id="other"))
    store.add("other", RECORD)
    for again in ((RECORD,), (replace(RECORD, key="new"), RECORD)):
        with pytest.raises(FailedError, match=rf"run {RUN.id} has train of drconv m=8 seed 3 done already"):
            store.add_many(RUN.id, again)
    store.add(RUN.id, replace(RECORD, status="failed"))
    assert [record.status for record in store.records(RUN.id)] == ["failed", "done", "failed"]


def test_the_database_itself_refuses_what_is_done_twice(path: Path, store: Store) -> None:
    number = store.add(RUN.id, RECORD)
    with closing(sqlite3.connect(path)) as other:
        names = [row[1] for row in other.execute("PRAGMA table_info(record)") if row[1] not in ("id", "uid")]
        copied = f"INSERT INTO record (uid, {', '.join(names)}) SELECT 'x', {', '.join(names)} FROM record"
        with pytest.raises(sqlite3.IntegrityError, match=r"record\.run_id, record\.work_key"):
            other.execute(f"{copied} WHERE id = {number}")


def test_a_run_with_all_its_records_is_kept_whole_or_not_at_all(store: Store) -> None:
    whole = replace(RUN, id="whole", status="done", finished="2026-01-01T13:00:00Z")
    store.begin_run(whole, (RECORD, replace(RECORD, key="b", status="failed")))
    assert store.run("whole") == whole
    assert store.counts()["whole"] == {"done": 1, "failed": 1}
    with pytest.raises(FailedError, match="done already"):
        store.begin_run(replace(RUN, id="half"), (RECORD, RECORD))
    assert {run.id for run in store.runs()} == {RUN.id, "whole"}


def test_runs_are_found_by_the_beginning_of_their_id(store: Store) -> None:
    store.begin_run(replace(RUN, id="20260102-1200-smoke-cd34", started="2026-01-02T12:00:00Z", suite="other"))
    assert [run.id for run in store.runs()] == ["20260102-1200-smoke-cd34", RUN.id]
    assert [run.id for run in store.runs("smoke")] == [RUN.id]
    assert store.run("latest").id == "20260102-1200-smoke-cd34"
    assert store.run("20260101").id == RUN.id
    with pytest.raises(InputError, match=r"several runs begin with '2026010': 20260102-1200-smoke-cd34, 20260101"):
        store.run("2026010")
    with pytest.raises(InputError, match="no run 'x'"):
        store.run("x")


def test_an_empty_id_means_no_run_even_if_there_is_only_one(store: Store) -> None:
    assert len(store.runs()) == 1
    for ask in (store.run, store.remove_run):
        with pytest.raises(InputError, match="run: got ''; expected an id"):
            ask("")
    assert len(store.runs()) == 1


def test_no_runs_is_nothing_to_show(path: Path) -> None:
    with Store.open(path, write=True) as opened, pytest.raises(NothingError, match="holds no runs"):
        opened.run()


def test_machines_code_and_variants_are_kept_once_and_go_with_the_last_run(path: Path, store: Store) -> None:
    other = replace(RUN, id="other", machine=replace(MACHINE, memory_bytes=1))
    store.begin_run(other)
    for run in (RUN, other):
        store.add(run.id, RECORD)

    def counted() -> dict[str, int]:
        tables = ("machine", "code", "suite", "run", "variant", "record", "measurement", "sample", "layer", "epoch")
        with closing(sqlite3.connect(path)) as reader:
            more = (*tables, "outcome", "file")
            return {table: reader.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in more}

    before = counted()
    assert (before["machine"], before["code"], before["suite"], before["variant"]) == (2, 1, 1, 1)
    assert store.remove_run("other") == "other"
    after = counted()
    assert (after["machine"], after["code"], after["variant"], after["record"]) == (1, 1, 1, 1)
    assert all(after[name] == before[name] // 2 for name in ("measurement", "sample", "layer", "epoch", "outcome"))
    store.remove_run(RUN.id)
    assert set(counted().values()) == {0}


def test_a_record_made_on_another_machine_than_its_run(path: Path, store: Store) -> None:
    elsewhere = replace(MACHINE, hostname="elsewhere", cpu="another CPU")
    first, second = RECORD, replace(RECORD, key="other", machine=elsewhere)
    store.add_many(RUN.id, (first, second))
    assert store.records() == (first, second)
    records, _ = store.rows()
    assert list(records["cpu"]) == ["a CPU", "another CPU"]
    store.begin_run(replace(RUN, id="last", machine=elsewhere))
    store.remove_run("last")
    assert store.records() == (first, second)  # its machine is still needed
    store.remove_run(RUN.id)
    with closing(sqlite3.connect(path)) as reader:
        assert reader.execute("SELECT COUNT(*) FROM machine").fetchone() == (0,)


def test_a_record_whose_machine_is_missing_is_damaged(path: Path, store: Store) -> None:
    store.add(RUN.id, RECORD)
    with closing(sqlite3.connect(path)) as writer, writer:
        writer.execute("UPDATE record SET machine_id = 77")
    assert store.records() == ()
    assert "machine_id: got 77; expected a machine that is in the database" in store.damages.lines()[0]


def test_a_record_that_cannot_be_kept_leaves_nothing_behind(store: Store) -> None:
    broken = replace(RECORD, measurements=(*RECORD.measurements, Measurement("x", 1.0, None)))  # type: ignore[arg-type]
    with pytest.raises(DrbenchError):
        store.add(RUN.id, broken)
    assert store.records() == ()


def test_a_full_disk_is_one_line_and_what_was_recorded_is_kept(path: Path, store: Store) -> None:
    store.add(RUN.id, RECORD)
    with store._engine.connect() as connection:  # the one connection that is pooled
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    large = replace(RECORD, key="large", outcomes=Outcomes("image", "rank-u8", 1 << 20, bytes(1 << 20)))
    with pytest.raises(FailedError, match=r"disk is full\. What was recorded is kept") as error:
        store.add(RUN.id, large)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 4
    store.close()
    with Store.open(path) as reader:
        assert reader.records() == (RECORD,)


def test_a_reader_does_not_write(path: Path, store: Store) -> None:
    store.close()
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.parent.iterdir()}
    with Store.open(path) as reader:
        reader.runs()
        reader.rows()
        with pytest.raises(InputError, match="opened to be read"):
            reader.add(RUN.id, RECORD)
        during = {file.name for file in path.parent.iterdir()}
    assert during == set(before)
    assert {f.name: (f.read_bytes(), f.stat().st_mtime_ns) for f in path.parent.iterdir()} == before


def test_a_reader_that_was_overtaken_says_so(path: Path, store: Store) -> None:
    store.close()
    with Store.open(path) as reader:
        assert len(reader.runs()) == 1
        with Store.open(path, write=True) as writer:
            writer.begin_run(replace(RUN, id="other"))
        with pytest.raises(FailedError, match="written to while it was read"):
            reader.runs()


def test_a_reader_that_was_overtaken_does_not_speak_of_damage(path: Path, store: Store) -> None:
    store.add(RUN.id, RECORD)
    store.close()
    with Store.open(path) as reader:
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(FailedError, match="written to while it was read"):
            reader.records()


def test_a_reader_beside_a_writer_sees_what_is_committed(path: Path, store: Store) -> None:
    with Store.open(path) as reader:
        assert reader.records() == ()
        store.add(RUN.id, RECORD)
        assert reader.records() == (RECORD,)


def test_rows_for_reports(store: Store) -> None:
    store.add(RUN.id, RECORD)
    store.add(RUN.id, replace(RECORD, status="failed", measurements=()))
    records, figures = store.rows()
    assert list(records["status"]) == ["done", "failed"]
    assert list(zip(*(figures[name] for name in ("record", "name", "value", "batch_size")), strict=True)) == [
        (1, "latency", 2.0, 8),
        (1, "madds", 12_345_678_901, None),
    ]
    assert list(store.rows(names=["madds"])[1]["name"]) == ["madds"]
    assert list(store.rows(suite="other")[0]["record"]) == []


def test_the_views_say_what_people_ask_for(path: Path, store: Store) -> None:
    seeds = {0: 0.5, 1: 0.75}
    for seed, top1 in seeds.items():
        top = (Measurement("top1", top1, "fraction"),)
        store.add(RUN.id, replace(RECORD, key=f"train{seed}", seed=seed, measurements=top))
    batches = tuple(Measurement("latency", 0.1 * b, "s", context={"batch_size": b}) for b in (8, 1))
    store.add(RUN.id, replace(RECORD, key="latency", stage="latency", seed=None, measurements=batches))
    parts = (Measurement("madds", 100, "", part=""), Measurement("madds", 999, "", part="guide"))
    store.add(RUN.id, replace(RECORD, key="cost", stage="cost", seed=None, measurements=parts))
    store.add(RUN.id, replace(RECORD, stage="train", seed=2, status="failed", measurements=()))
    with closing(sqlite3.connect(path)) as reader:
        reader.row_factory = sqlite3.Row
        (row,) = reader.execute("SELECT * FROM leaderboard").fetchall()
        results = reader.execute("SELECT name, part, value, status FROM results WHERE stage = 'cost'").fetchall()
        failed = reader.execute("SELECT name, value FROM results WHERE status = 'failed'").fetchall()
    assert (row["run"], row["architecture"], row["label"], row["regions"]) == (RUN.id, "net", "drconv m=8", 8)
    assert (row["madds"], row["top1_mean"], row["seeds"], row["records_not_done"]) == (100, 0.625, 2, 1)
    assert (row["latency_p50_seconds"], row["latency_batch_size"]) == (0.1, 1)
    assert (row["peak_memory_host_bytes"], row["peak_memory_device_bytes"], row["latency_ratio"]) == (None, None, None)
    assert [tuple(one) for one in results] == [("madds", "", 100.0, "done"), ("madds", "guide", 999.0, "done")]
    assert [tuple(one) for one in failed] == [(None, None)]


def test_the_leaderboard_knows_memory_and_leaves_noise_and_single_layers_out(path: Path, store: Store) -> None:
    def peak(part: str, value: float, phase: str) -> Measurement:
        return Measurement("peak_memory", value, "bytes", "lower", part, context={"phase": phase})

    memory = (peak("host", 2e9, "inference"), peak("device", 3e9, "inference"))
    store.add(RUN.id, replace(RECORD, key="m", stage="memory", seed=None, measurements=memory))
    store.add(RUN.id, replace(RECORD, key="t", measurements=(peak("host", 9e9, "train"),)))
    ratios = tuple(Measurement("latency_ratio", 1.0 + b, "ratio", context={"batch_size": b}) for b in (8, 1))
    times = tuple(Measurement("latency", 0.1 * b, "s", context={"batch_size": b}) for b in (8, 1))
    store.add(RUN.id, replace(RECORD, key="l", stage="latency", seed=None, measurements=times + ratios))
    for stage in ("noise", "ops"):
        other = replace(RECORD, key=stage, variant_hash=stage, label=stage, stage=stage, seed=None)
        store.add(RUN.id, replace(other, measurements=(Measurement("latency", 7.0, "s", context={"batch_size": 1}),)))
    with closing(sqlite3.connect(path)) as reader:
        reader.row_factory = sqlite3.Row
        (row,) = reader.execute("SELECT * FROM leaderboard").fetchall()
        shown = reader.execute("SELECT DISTINCT stage FROM results ORDER BY stage").fetchall()
    assert (row["peak_memory_host_bytes"], row["peak_memory_device_bytes"]) == (2e9, 3e9)
    assert (row["latency_p50_seconds"], row["latency_ratio"], row["latency_batch_size"]) == (0.1, 2.0, 1)
    assert [one["stage"] for one in shown] == ["latency", "memory", "noise", "ops", "train"]


def test_what_failed_and_was_done_later_is_done(path: Path, store: Store) -> None:
    store.add(RUN.id, replace(RECORD, key="a", status="failed", measurements=()))
    store.add(RUN.id, replace(RECORD, key="a", status="failed", measurements=()))
    store.add(RUN.id, replace(RECORD, key="a"))
    store.add(RUN.id, replace(RECORD, key="b", seed=4, status="failed", measurements=()))
    with closing(sqlite3.connect(path)) as reader:
        assert reader.execute("SELECT records_not_done, params FROM leaderboard").fetchall() == [(1, None)]
        assert reader.execute("SELECT run, records, done, failed FROM runs").fetchall() == [(RUN.id, 4, 1, 1)]
