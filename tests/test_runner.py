from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drbench_db import Store

from drbench import runner
from drbench.errors import InputError
from drbench.records import Event
from drbench.suite import Suite, plan, validate

COSTS: dict[str, Any] = {
    "name": "costs",
    "architectures": ["mobilenet_v1_0.25"],
    "operators": [{"operator": "drconv", "regions": 2}],
    "stages": ["cost"],
    "input_shape": [3, 32, 32],
    "num_classes": 10,
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "drbench.db", write=True) as opened:
        yield opened


def made(**changes: Any) -> Suite:
    return validate({**COSTS, **changes}, "costs")


def test_run_ids_are_sortable_readable_and_unique() -> None:
    first, second = runner.new_run_id("mobilenet"), runner.new_run_id("mobilenet")
    assert re.fullmatch(r"\d{8}-\d{4}-mobilenet-[0-9a-f]{4}", first)
    assert first != second
    assert "/" not in runner.new_run_id("../my.module:net")


def test_suite_is_kept_as_it_was_run(store: Store, tmp_path: Path) -> None:
    suite = made(seeds=3)
    outcome = runner.run_suite(suite, store, files=tmp_path / "files", command="drbench run suite costs")
    assert (outcome.status, outcome.done, outcome.failed) == ("done", 2, 0)
    run = store.run(outcome.run_id)
    assert (run.suite, run.status, run.command) == ("costs", "done", "drbench run suite costs")
    assert plan(validate(runner_suite(run.suite_text), "kept")) == plan(suite)


def runner_suite(text: str) -> dict[str, Any]:
    from drbench.suite import parse

    return parse(text, "kept")


def test_interrupt_keeps_what_is_recorded_and_resuming_does_the_rest(store: Store, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)

    def stop(event: Event) -> None:
        if event.kind == "variant":
            raise KeyboardInterrupt

    try:
        outcome = runner.run_suite(made(), store, files=tmp_path, on_event=stop)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # a second Ctrl-C does not wait
    finally:
        signal.signal(signal.SIGINT, before)
    assert outcome.status == "interrupted"
    assert [record.label for record in store.records(outcome.run_id)] == ["conv"]

    again = runner.run_suite(made(), store, files=tmp_path, resume=store.run(outcome.run_id))
    assert (again.run_id, again.status, again.done, again.skipped) == (outcome.run_id, "done", 1, 1)
    assert [record.label for record in store.records(outcome.run_id)] == ["conv", "drconv m=2"]
    assert store.run(outcome.run_id).status == "done"


def test_an_error_of_ours_ends_the_run_as_failed(store: Store, tmp_path: Path) -> None:
    def broken(event: Event) -> None:
        if event.kind == "variant":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        runner.run_suite(made(), store, files=tmp_path, on_event=broken)
    assert store.run().status == "failed"
    assert len(store.records()) == 1


def test_width_that_cannot_be_found_fails_that_network_alone(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "runner_test_net.py").write_text(
        "from torch import nn\n\n\ndef net(num_classes=10):\n"
        "    pool = nn.AdaptiveAvgPool2d(1)\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 1), pool, nn.Flatten(), nn.Linear(8, num_classes))\n"
    )
    own = [{"operator": "drconv", "regions": 2, "where": "0"}]
    suite = made(architectures=["runner_test_net:net"], operators=own, match=["madds"])
    outcome = runner.run_suite(suite, store, files=tmp_path / "files")
    assert (outcome.status, outcome.done, outcome.failed) == ("failed", 2, 1)
    (failed,) = (record for record in store.records() if record.status == "failed")
    assert failed.label == "conv =madds(drconv m=2)"
    assert "width" in failed.error


def test_dry_run_counts_and_records_nothing(tmp_path: Path) -> None:
    seen: list[Event] = []
    runner.dry_run(made(stages=["cost", "train"]), seen.append)
    records = [event.payload for event in seen if event.kind == "variant"]
    assert [(record.stage, record.label) for record in records] == [("cost", "conv"), ("cost", "drconv m=2")]
    assert list(tmp_path.iterdir()) == []


def test_reference_rows_are_those_the_suite_names() -> None:
    rows = runner.references(made(references=["mobilenet_v1_0.25/conv"]))
    assert {(row.model, row.operator) for row in rows} == {("mobilenet_v1_0.25", "conv")}
    assert runner.references(made(references=[])) == ()


def test_wrong_names_are_found_before_any_work(store: Store, tmp_path: Path) -> None:
    suite = made()
    wrong = suite.model_copy(update={"operators": (replace_operator(suite, "drcnov"),)})
    with pytest.raises(InputError, match="unknown operator 'drcnov'"):
        runner.run_suite(wrong, store, files=tmp_path)
    assert store.runs() == ()


def replace_operator(suite: Suite, name: str) -> Any:
    return suite.operators[0].model_copy(update={"operator": name})


def test_a_run_is_not_gone_on_with_on_another_machine(store: Store, tmp_path: Path) -> None:
    outcome = runner.run_suite(made(), store, files=tmp_path / "files")
    run = store.run(outcome.run_id)
    elsewhere = replace(run, machine=replace(run.machine, torch="2.0.0"))
    with pytest.raises(InputError, match=r"with torch '2.0.0', here it is .*start a new run"):
        runner.run_suite(made(), store, files=tmp_path / "files", resume=elsewhere)
    older = replace(run, code=replace(run.code, drbench="0.0.1"))
    with pytest.raises(InputError, match=r"with drbench 0.0.1, this is .*start a new run"):
        runner.run_suite(made(), store, files=tmp_path / "files", resume=older)
    assert store.run(run.id).status == "done"
