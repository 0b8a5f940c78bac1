"""Tables of the operator benchmark from records made by hand: means, what is skipped, which runs are shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drbench_db import Store

from drbench.records import Code, Machine, Run
from drbench.report import render, runs_table, show
from drbench.report.ops import Mean, mean, ops_tables
from drbench.run.opbench.convert import records
from drbench.run.opbench.files import suite_text

SETTINGS: dict[str, Any] = {
    "shapes": ["1x1-4-6@5", "1x1-8-6@5"],
    "batch_sizes": [32],
    "passes": ["forward"],
    "ways": ["conv", "all-and-pick", "region_conv2d"],
    "device": "cpu",
    "dtype": "float32",
    "memory_format": "channels_last",
    "masks": "smooth",
    "regions": 8,
    "experts": 8,
    "threads": 2,
    "graph": False,
    "flush_l2": False,
}
SESSION = {
    "started": "2026-01-01T12:00:00Z",
    "code": {"kernels": "0123456789abcdef", "drbench": "0.1"},
    "clock": "wall clock",
    "rates": {"gemm_multiply_adds_per_second": 9e10, "copy_bytes_per_second": {"262144": 8e10, "1048576": 2e10}},
}
MACHINE = Machine("box", "Linux", "a CPU", 2, 2, 8 << 30, torch="2.11", cpu_capability="AVX2")
RUN = Run(
    "20260101-1200-ops-ab12",
    "ops",
    suite_text(SETTINGS),
    "drbench run ops",
    "2026-01-01T12:00:00Z",
    MACHINE,
    Code("0.1"),
)


def row(channels: int, ours: list[float], *, skipped: bool = False) -> dict[str, Any]:
    """One shape: conv takes a second, all-and-pick ten."""

    def way(samples: list[float], path: str = "") -> dict[str, Any]:
        ratio = {"to": "conv"}
        return {"samples": samples, "calls": 1, "extra_bytes": 1 << 20, "path": path, "ratio": ratio}

    conv = way([1.0, 1.0, 1.0])
    del conv["ratio"]
    too_much = {"skipped": "over memory: needs about 9.0 GiB, allowed are 4"}
    return {
        "shape": {
            "name": f"1x1-{channels}-6@5", "channels": channels, "outputs": 6, "height": 5, "width": 5, "kernel": 1,
            "stride": 1, "networks": ["some_net"],
        },
        "batch": 32,
        "pass": "forward",
        "session": 0,
        "finished": "2026-01-01T12:00:05Z",
        "regions_present": 6.5,
        "limit": {"seconds": 0.5, "multiply_adds": 10, "bytes": 20, "bound": "traffic", "ratio": 0.5, "share": None},
        "ways": {
            "conv": conv,
            "all-and-pick": too_much if skipped else way([10.0]),
            "region_conv2d": way(ours, "native"),
        },
    }  # fmt: skip


ROWS = [row(4, [1.0, 2.0, 3.0]), row(8, [8.0, 8.0, 8.0], skipped=True)]


def keep(store: Store, run: Run = RUN, rows: list[dict[str, Any]] = ROWS, status: str = "done") -> None:
    store.begin_run(run)
    for one in rows:
        store.add_many(run.id, records(SETTINGS, [SESSION], [one]))
    store.end_run(run.id, status)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "ops.db", write=True) as opened:
        keep(opened)
        yield opened


def test_mean_is_geometric_over_what_is_known() -> None:
    assert mean([2.0, 8.0, None]) == Mean(pytest.approx(4.0), 2)
    assert mean([None]) is None


def test_figures_are_raw(store: Store) -> None:
    (table,) = ops_tables(store)
    assert [shape.name for shape in table.shapes] == SETTINGS["shapes"]
    assert table.shapes[0].size == (4, 6, 5, 5, 1, 1)
    ours = table.shapes[0].ways["region_conv2d"][32, "forward"]
    assert (ours.latency, ours.ratio, ours.ratio_p25, ours.ratio_p75) == (2.0, 2.0, 1.5, 2.5)
    assert (ours.limit, ours.limit_ratio, ours.share, ours.path, ours.extra_memory) == (
        0.5,
        0.5,
        0.25,
        "native",
        1 << 20,
    )
    assert table.shapes[1].ways["all-and-pick"] == {}


def test_terminal_says_means_counts_and_what_was_skipped(store: Store) -> None:
    text = render(store, width=200)
    lines = text.splitlines()
    first = next(line for line in lines if line.startswith("1x1-4-6@5"))
    assert first.split()[:3] == ["1x1-4-6@5", "1000.0", "10.00"]
    assert "2.00 [1.50 2.50]" in first
    means = next(line for line in lines if line.startswith("geometric mean"))
    assert "10.00 (1)" in means
    assert "4.00 (2)" in means
    assert "0.50 (2)" in means
    # filters and output: 32 * (8*6*4 + 6*25) * 4 bytes, and 32 * (8*6*8 + 6*25) * 4
    assert f"{2**20 / (32 * (8 * 24 + 150) * 4):.2f}" in first
    assert "all-and-pick m=8: 1 case skipped, over memory" in text
    assert "2 threads, channels_last, smooth masks, m=8, K=8" in text.replace("\n", " ")


def test_json_has_means_with_their_counts(store: Store) -> None:
    (table,) = json.loads(render(store, format="json"))["ops"]
    (over,) = [one for one in table["rows"] if one["kind"] == "op-mean" and one["label"] == "region_conv2d"]
    assert (over["op_ratio"], over["op_shapes"]) == (pytest.approx(4.0), 2)
    assert over["op_limit_ratio"] == pytest.approx(0.5)
    assert over["op_limit_share"] == pytest.approx((0.25 * 0.0625) ** 0.5)
    assert any("skipped" in note for note in table["notes"])


def test_of_equal_settings_the_newest_that_was_finished_is_shown(store: Store) -> None:
    newer = replace(RUN, id="20260102-1200-ops-cd34", started="2026-01-02T12:00:00Z")
    stopped = replace(RUN, id="20260103-1200-ops-ef56", started="2026-01-03T12:00:00Z")
    keep(store, newer)
    keep(store, stopped, ROWS[:1], "interrupted")
    (table,) = ops_tables(store)
    assert table.run.id == newer.id
    assert table.others == (RUN.id, stopped.id)
    assert f"2 more runs with the same settings on the same machine: {RUN.id}, {stopped.id}" in render(store, width=200)
    (own,) = ops_tables(store, run=RUN.id)
    assert (own.run.id, own.others) == (RUN.id, ())
    assert stopped.id in render(store, latest=True)


def test_other_settings_are_another_table(store: Store) -> None:
    other = {**SETTINGS, "masks": "scattered"}
    keep(store, replace(RUN, id="20260102-1200-ops-cd34", started="2026-01-02T12:00:00Z", suite_text=suite_text(other)))
    assert [table.settings["masks"] for table in ops_tables(store)] == ["scattered", "smooth"]


def test_what_failed_is_said(store: Store) -> None:
    bad = row(4, [1.0])
    bad["ways"]["region_conv2d"] = {"failed": "RuntimeError: broken"}
    other = replace(RUN, id="20260102-1200-ops-cd34", started="2026-01-02T12:00:00Z")
    keep(store, other, [bad], "failed")
    text = render(store, run=other.id, width=200)
    assert "region_conv2d m=8: failed: batch 32 forward: RuntimeError: broken" in text
    assert "10.00" in text


def test_runs_and_show(store: Store) -> None:
    assert "2 of 2" not in runs_table(store)
    assert "6 of 6" in runs_table(store)
    assert "1x1-8-6@5 all-and-pick m=8" in show(store)
