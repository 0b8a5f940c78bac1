"""drbench noise, as a user runs it: a run of its own, which says what can be told here, and is in no report."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from drbench_db import Store

from drbench.records import NOISE, Measurement, Record, Variant
from drbench.run.noise import floors
from drbench.statistics.ratios import ratio_interval

SUITE = """
name = "small"
architectures = ["mobilenet_v1_0.25"]
operators = [{ operator = "drconv", regions = 2 }]
latency = { batch_sizes = [1], warmup_runs = 1, min_runs = 2, min_seconds = 0.0, threads = 1, device = "cpu" }
"""


def test_a_floor_is_measured_and_kept(drbench) -> None:
    Path("small.toml").write_text(SUITE)
    done = drbench("noise", "small.toml", "--max-time", 1)
    assert done.code == 0, done.err
    head, line, last = done.out.splitlines()
    assert [f"{minutes} min" in head for minutes in (1, 2, 5, 20)] == [True] * 4
    assert line.startswith("mobilenet_v1_0.25")
    assert line.count("%") == 4
    with Store.open("drbench.db") as store:
        run = store.run()
        (record,) = store.records(run.id)
    assert last == f"run {run.id} done"
    assert (record.stage, record.label, record.variant.operator) == (NOISE, "conv", "conv")
    names = {m.name: m for m in record.measurements}
    assert set(names) == {"latency", "latency_floor"}
    assert len(names["latency_floor"].context["worker_log_ratios"]) >= 3  # however short the time
    assert drbench("report").code == 3  # what a machine is like is no result of a network


def test_an_unfinished_one_is_not_resumed_as_a_run_of_its_suite(drbench) -> None:
    Path("small.toml").write_text(SUITE)
    assert drbench("noise", "small.toml", "--max-time", 1).code == 0
    with Store.open("drbench.db", write=True) as store:
        store.end_run(store.run().id, "interrupted")
        (before,) = store.records()
    refused = drbench("run", "--resume", "latest")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "a noise run; expected a run of a suite" in refused.err
    assert drbench("run", "suite", "small.toml", "--resume").code == 3
    with Store.open("drbench.db") as store:
        assert store.records() == (before,)


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_a_senseless_time(drbench, seconds: str) -> None:
    done = drbench("noise", "--max-time", seconds)
    assert done.code == 2
    assert "--max-time" in done.err
    assert not Path("drbench.db").exists()


def test_what_a_floor_resolves_shrinks_with_the_root_of_the_time() -> None:
    said = [0.01, -0.01, 0.008, -0.008, 0.012, -0.012, 0.004, -0.004, 0.006, -0.006]
    context = {"batch_size": 4, "worker_log_ratios": said}
    figure = Measurement("latency_floor", 1.0, "ratio", context=context)
    variant = Variant("net")
    record = Record("k", variant, "h", "conv", NOISE, "done", "", "", measurements=(figure,))
    (found,) = floors([record], 30.0)
    assert (found.network, found.batch_size, found.workers) == ("net", 4, 10)
    assert found.interval == ratio_interval(said)
    one, two, five, twenty = found.resolved
    assert one > two > five > twenty
    assert math.log1p(five) / math.log1p(twenty) == pytest.approx(2, rel=0.1)
