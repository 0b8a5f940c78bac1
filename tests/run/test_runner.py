from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drbench_db import Store

from drbench import protocol_versions
from drbench.errors import FailedError, InputError, NothingError
from drbench.executor import Ended
from drbench.identity import experiment_key
from drbench.published import references
from drbench.records import Event
from drbench.run import runner
from drbench.run.session import new_run_id
from drbench.suite.plan import plan
from drbench.suite.read import validate
from drbench.suite.tables import Suite

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
    first, second = new_run_id("mobilenet"), new_run_id("mobilenet")
    assert re.fullmatch(r"\d{8}-\d{4}-mobilenet-[0-9a-f]{4}", first)
    assert first != second
    assert "/" not in new_run_id("../my.module:net")


def test_suite_is_kept_as_it_was_run(store: Store, tmp_path: Path) -> None:
    suite = made(seeds=3)
    outcome = runner.run_suite(suite, store, files=tmp_path / "files", command="drbench run suite costs")
    assert (outcome.status, outcome.done, outcome.failed) == ("done", 2, 0)
    run = store.run(outcome.run_id)
    assert (run.suite, run.status, run.command) == ("costs", "done", "drbench run suite costs")
    assert plan(validate(runner_suite(run.suite_text), "kept")) == plan(suite)


def runner_suite(text: str) -> dict[str, Any]:
    from drbench.suite.read import parse

    return parse(text, "kept")


def test_interrupt_keeps_what_is_recorded_and_resuming_does_the_rest(store: Store, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if event.kind == "variant":
            raise KeyboardInterrupt

    outcome = runner.run_suite(made(), store, files=tmp_path, on_event=stop)
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


def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, **changes: Any) -> Suite:
    """A suite of a network of the user's own, whose constructor does `body`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"runner_test_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        "import errno, ctypes, os, time, torch\nfrom torch import nn\n\n\n"
        f"class Net(nn.Module):\n    def __init__(self, num_classes=10):\n        super().__init__()\n"
        f"        self.conv = nn.Conv2d(3, num_classes, 1)\n{indented(body)}"
        "    def forward(self, x):\n        return self.conv(x).mean((2, 3))\n"
    )
    return made(architectures=["mobilenet_v1_0.25", f"{name}:Net"], operators=[], **changes)


def indented(body: str) -> str:
    return "".join(f"        {line}\n" for line in body.splitlines())


@pytest.mark.parametrize(
    ("body", "limits", "kind", "reason"),
    [
        ("ctypes.string_at(0)", {}, "crashed", "crashed: SIGSEGV"),
        ("os._exit(3)", {}, "crashed", "crashed: exit code 3 before it was done"),
        ("raise ValueError('no\\nway')", {}, "failed", ".* failed: ValueError: no way"),
        ("time.sleep(60)", {"timeout_seconds": 3}, "timeout", "timeout: not done within 3 s"),
        ("torch.empty(1 << 45)", {}, "oom", "oom: .* RuntimeError: .*can't allocate memory.*"),
        ("self.x = []\nwhile True: self.x.append(torch.ones(1 << 22))", {"memory_gib": 1.0}, "oom", "oom: .*1.00 GiB"),
    ],
)
def test_a_variant_that_ends_badly_is_a_row_with_its_reason_and_the_run_goes_on(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    limits: dict[str, float],
    kind: str,
    reason: str,
) -> None:
    suite = own(tmp_path, monkeypatch, body, limits=limits)
    outcome = runner.run_suite(suite, store, files=tmp_path / "files")
    assert (outcome.status, outcome.done, outcome.failed) == ("failed", 1, 1)
    good, bad = store.records()
    assert (good.status, bad.status, bad.settings["ended"]) == ("done", "failed", kind)
    assert re.fullmatch(reason, bad.error)
    if kind == "crashed" and "SIGSEGV" in reason:
        assert "in __init__" in Path(bad.files["traceback"]).read_text()


def test_a_full_disk_is_no_fault_of_the_variant(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = own(tmp_path, monkeypatch, "raise OSError(errno.ENOSPC, 'No space left on device', 'weights')")
    with pytest.raises(OSError, match="No space"):
        runner.run_suite(suite, store, files=tmp_path / "files")
    assert [record.status for record in store.records()] == ["done"]
    assert store.run().status == "failed"


def test_where_memory_runs_out_half_of_the_batch_is_tried(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = own(
        tmp_path,
        monkeypatch,
        "def check(module, given):\n    if len(given[0]) > 8: raise MemoryError\nself.register_forward_pre_hook(check)",
        stages=["memory", "train"],
        data={"args": {"train": 40, "test": 10}},
        train={"epochs": 1, "batch_size": 32, "threads": 1},
        latency={"batch_sizes": [1, 32]},
        only=["*Net*"],
    )
    outcome = runner.run_suite(suite, store, files=tmp_path / "files")
    assert [record.error for record in store.records()] == ["", ""]
    assert (outcome.status, outcome.done) == ("done", 2)
    memory, train = store.records()
    assert memory.settings["latency"]["batch_sizes"] == [8]
    assert memory.measurements[0].context["batch_size"] == 8
    assert memory.notes == ("batch size 8 instead of 32: out of memory",)
    assert train.settings["train"]["batch_size"] == 2  # four times as many are evaluated at once
    assert "batch size 2 instead of 32" in train.notes[-1]
    assert "a different training" in train.notes[-1]
    assert [record.key for record in (memory, train)] == [
        experiment_key(one, variant) for one in plan(suite) for variant in one.variants
    ]


def test_what_failed_is_tried_again_only_when_asked(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = own(tmp_path, monkeypatch, f"if not os.path.exists({str(tmp_path / 'now')!r}): raise ValueError('not yet')")
    first = runner.run_suite(suite, store, files=tmp_path / "files")
    assert (first.done, first.failed) == (1, 1)
    (tmp_path / "now").touch()
    run = store.run()
    again = runner.run_suite(suite, store, files=tmp_path / "files", resume=run)
    assert (again.status, again.done, again.failed, again.skipped, again.lost) == ("failed", 0, 0, 1, 1)
    retried = runner.run_suite(suite, store, files=tmp_path / "files", resume=run, retry_failed=True)
    assert (retried.status, retried.done, retried.failed, retried.skipped, retried.lost) == ("done", 1, 0, 1, 0)


def test_a_changed_source_is_measured_again(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = own(tmp_path, monkeypatch, "pass")
    runner.run_suite(suite, store, files=tmp_path / "files")
    (source,) = tmp_path.glob("runner_test_*.py")
    source.write_text(f"{source.read_text()}\n# changed\n")
    again = runner.run_suite(suite, store, files=tmp_path / "files", resume=store.run())
    assert (again.done, again.skipped) == (1, 1)


def test_a_shard_without_a_variant_is_nothing_to_run() -> None:
    with pytest.raises(NothingError, match="shard 5/9 of suite 'costs' is empty"):
        runner.prepare(made(shard=[5, 9]))


def test_an_error_of_ours_in_a_worker_comes_with_its_traceback() -> None:
    ended = Ended("failed", reason="KeyError: 'x'", traceback="Traceback: line 7")
    with pytest.raises(RuntimeError, match="checking failed: KeyError: 'x'") as caught:
        ended.value_of("checking")
    assert caught.value.__notes__ == ["Traceback: line 7"]
    with pytest.raises(FailedError, match="checking failed: crashed: SIGSEGV"):
        Ended("crashed", reason="SIGSEGV").value_of("checking")


def test_reference_rows_are_those_the_suite_names() -> None:
    rows = references(["mobilenet_v1_0.25"], ["mobilenet_v1_0.25/conv"])
    assert {(row.model, row.operator) for row in rows} == {("mobilenet_v1_0.25", "conv")}
    assert references(["mobilenet_v1_0.25"], []) == ()


def test_wrong_names_are_found_before_any_work(store: Store, tmp_path: Path) -> None:
    suite = made()
    wrong = suite.model_copy(update={"operators": (replace_operator(suite, "drcnov"),)})
    with pytest.raises(InputError, match="unknown operator 'drcnov'"):
        runner.run_suite(wrong, store, files=tmp_path)
    assert store.runs() == ()


def replace_operator(suite: Suite, name: str) -> Any:
    return suite.operators[0].model_copy(update={"operator": name})


def test_a_run_is_not_resumed_on_another_machine(store: Store, tmp_path: Path) -> None:
    outcome = runner.run_suite(made(), store, files=tmp_path / "files")
    run = store.run(outcome.run_id)
    elsewhere = replace(run, machine=replace(run.machine, torch="2.0.0"))
    with pytest.raises(InputError, match=r"got torch .*; expected torch '2\.0\.0', as in the run\. Start a new run"):
        runner.run_suite(made(), store, files=tmp_path / "files", resume=elsewhere)
    assert store.run(run.id).status == "done"


def test_a_run_of_another_release_is_resumed_where_the_protocols_are_the_same(store: Store, tmp_path: Path) -> None:
    outcome = runner.run_suite(made(), store, files=tmp_path / "files")
    run = store.run(outcome.run_id)
    older = replace(run, code=replace(run.code, drbench="0.0.1"))
    again = runner.run_suite(made(), store, files=tmp_path / "files", resume=older)
    assert (again.status, again.skipped) == ("done", 2)


def test_a_run_of_another_protocol_is_not_resumed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = runner.run_suite(made(), store, files=tmp_path / "files")
    monkeypatch.setattr(protocol_versions, "CURRENT", {**protocol_versions.CURRENT, "timing": 7})
    again = runner.run_suite(made(), store, files=tmp_path / "files", resume=store.run(outcome.run_id))
    assert again.status == "done"  # it has timed nothing
    monkeypatch.setattr(protocol_versions, "CURRENT", {**protocol_versions.CURRENT, "counting": 7})
    with pytest.raises(InputError, match=r"got counting protocol 7; expected counting protocol 2, as in the run\."):
        runner.run_suite(made(), store, files=tmp_path / "files", resume=store.run(outcome.run_id))
