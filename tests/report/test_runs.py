"""The list of runs, and one run from its records."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from drbench_db import Store

from drbench.errors import InputError, NothingError
from drbench.report import runs_table, show


def test_runs_are_listed_newest_first(filled: Callable[..., Store], demo: ModuleType) -> None:
    store = filled(seeds=1)
    store.begin_run(replace(demo.RUN, id="later", suite="other", started="2026-01-02T00:00:00Z"))
    store.add("later", demo.record(demo.PLAIN, "cost", status="failed", error="why"))
    text = runs_table(store, width=200)
    first, second = (line for line in text.splitlines() if "2026-01-0" in line)
    assert first.split()[:6] == ["later", "other", "running", "0", "of", "1"]
    assert second.split()[:6] == [demo.RUN.id, "demo", "done", "9", "of", "9"]
    assert "later" not in runs_table(store, suite="demo")
    listed = json.loads(runs_table(store, format="json"))
    assert [(run["id"], run["records"]) for run in listed] == [("later", {"failed": 1}), (demo.RUN.id, {"done": 9})]


def test_no_runs(store: Store) -> None:
    with pytest.raises(NothingError, match="no runs of suite 'x'"):
        runs_table(store, suite="x")


@pytest.mark.parametrize("width", [80, 120])
def test_a_run_is_shown_with_all_that_is_known(filled: Callable[..., Store], demo: ModuleType, width: int) -> None:
    store = filled(seeds=1)
    store.add(demo.RUN.id, demo.record(demo.DRCONV, "train", seed=5, status="failed", error="no memory"))
    text = show(store, demo.RUN.id[:8], layers=True, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "b=8, 2 threads, float32, cpu, 95% [1.48 1.52]" in text
    for words in (
        "shufflenet_v2_x0_5 drconv m=8: latency: done",
        "shufflenet_v2_x0_5 drconv m=8: train, seed 5: failed: no memory",
        "10 records, 1 not done.",
        "2.2500",  # training loss
        "conv1",  # a layer
        "guide 2",  # a part of it
        "40,000,000",
    ):
        assert words in text, words
    assert "conv1" not in show(store, layers=False)


def test_json_has_summaries_in_place_of_samples(filled: Callable[..., Store]) -> None:
    found = json.loads(show(filled(seeds=1), format="json"))
    latency = next(record for record in found["records"] if record["stage"] == "latency")["measurements"][0]
    samples = [0.002 * (1 + i / 100) for i in range(21)]
    assert latency["samples"] == 21
    np.testing.assert_allclose(
        [latency["summary"][name] for name in ("p25", "p50", "p75", "p99")],
        np.quantile(samples, [0.25, 0.5, 0.75, 0.99]),
    )
    assert found["machine"]["cpu"] == "a CPU"


def test_what_is_not_there(filled: Callable[..., Store]) -> None:
    store = filled(seeds=1)
    with pytest.raises(InputError, match="no run 'x'"):
        show(store, "x")
    with pytest.raises(InputError, match="unknown format 'md'"):
        show(store, format="md")
