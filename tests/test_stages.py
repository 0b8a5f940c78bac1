"""The table of stages: complete, in order, and each planned from what a suite asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from drbench import records
from drbench.errors import DataError
from drbench.executor import Ended, Executor, Limits, ignore
from drbench.identity import experiment_key, variant_hash
from drbench.job import Result
from drbench.records import DataSettings, Experiment, LatencySettings, Machine, Measurement, TrainSettings, Variant
from drbench.stages import STAGES, Request, WorkContext, line
from drbench.suite.tables import Stage as Allowed
from tests.executors import record_of

PLAIN = Variant("net", input_shape=(3, 8, 8))
DRCONV = replace(PLAIN, operator="drconv", operator_args={"regions": 2})
OTHER = replace(PLAIN, architecture="other")
GROUPS = {"net": ((PLAIN, "conv"), (DRCONV, "drconv m=2")), "other": ((OTHER, "conv"),)}
ALL = frozenset(map(variant_hash, (PLAIN, DRCONV, OTHER)))
REQUEST = Request(
    GROUPS, ALL, DataSettings(), TrainSettings(batch_size=32), LatencySettings(batch_sizes=(1, 32)), seeds=2
)


class Scripted(Executor):
    """Ends pieces of work as it was told, one after the other."""

    def __init__(self, *endings: Ended) -> None:
        self.endings, self.asked = list(endings), []

    def submit(self, function: str, *arguments: Any, limits: Any = None, on_event: Any = ignore) -> Any:
        self.asked.append((function, *arguments))
        ended = self.endings.pop(0)

        class Done:
            def result(self) -> Ended:
                return ended

        return Done()


def test_every_stage_has_a_name_in_records_and_in_suites() -> None:
    assert tuple(STAGES) == records.STAGES == get_args(Allowed)


def planned(stage: str, request: Request = REQUEST) -> list[tuple[tuple[str, ...], int | None]]:
    return [
        (tuple(f"{v.architecture}/{label}" for v, label in zip(one.variants, one.labels, strict=True)), one.seed)
        for one in STAGES[stage].plan(request)
    ]


def test_cost_and_memory_take_networks_one_by_one() -> None:
    each = [(("net/conv",), None), (("net/drconv m=2",), None), (("other/conv",), None)]
    assert planned("cost") == planned("memory") == each


def test_latency_takes_an_architecture_at_once() -> None:
    assert planned("latency") == [(("net/conv", "net/drconv m=2"), None), (("other/conv",), None)]


def test_a_shard_of_latency_keeps_the_plain_network_to_compare_with() -> None:
    shard = replace(REQUEST, in_shard=frozenset({variant_hash(DRCONV)}))
    assert planned("latency", shard) == [(("net/conv", "net/drconv m=2"), None)]
    assert planned("cost", shard) == [(("net/drconv m=2",), None)]


def test_training_goes_through_all_networks_before_the_next_seed() -> None:
    names = ["net/conv", "net/drconv m=2", "other/conv"]
    assert planned("train") == [((name,), seed) for seed in (0, 1) for name in names]
    assert planned("train", replace(REQUEST, eval_weights="w.safetensors")) == [((name,), 0) for name in names]


def test_memory_depends_on_the_largest_batch_alone() -> None:
    (one, *_) = STAGES["memory"].plan(replace(REQUEST, latency=LatencySettings(batch_sizes=(1, 32), workers=9)))
    assert one.latency == LatencySettings(batch_sizes=(32,))


OOM = Ended("oom", reason="no memory left")
DONE = Ended("done", Result(notes=("note of the work",)))


def test_out_of_memory_is_tried_with_half_of_the_batch(tmp_path: Path) -> None:
    one = Experiment("train", (PLAIN,), 0, DataSettings(), TrainSettings(batch_size=32), labels=("conv",))
    executor = Scripted(OOM, OOM, DONE)
    record = record_of(one, tmp_path, executor=executor)
    assert [(asked.train.batch_size, folder) for _, asked, folder in executor.asked] == [
        (32, tmp_path),
        (16, tmp_path / "batch-16"),
        (8, tmp_path / "batch-8"),
    ]
    assert record.settings["train"]["batch_size"] == 8  # what was done
    assert record.key == experiment_key(one, PLAIN)  # what was asked for
    assert record.notes[0] == "note of the work"
    assert record.notes[1].startswith("batch size 8 instead of 32: out of memory; the learning rate is unchanged")


@pytest.mark.parametrize(("stage", "times"), [("cost", 1), ("memory", 2), ("train", 2)])
def test_out_of_memory_at_batch_one_is_a_failure(tmp_path: Path, stage: str, times: int) -> None:
    latency, train = LatencySettings(batch_sizes=(2,)), TrainSettings(batch_size=2)
    one = Experiment(stage, (PLAIN,), 0, DataSettings(), train, latency, labels=("conv",))
    executor = Scripted(*[OOM] * times)
    record = record_of(one, tmp_path, executor=executor)
    assert (record.status, record.error, executor.endings) == ("failed", "oom: no memory left", [])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), DataError("no images")])
def test_what_is_no_fault_of_the_network_ends_the_run(tmp_path: Path, error: Exception) -> None:
    executor = Scripted(Ended("failed", reason=str(error), error=error))
    with pytest.raises(type(error)):
        record_of(Experiment("cost", (PLAIN,)), tmp_path, executor=executor)


def test_a_record_knows_where_its_work_was_done(tmp_path: Path) -> None:
    node = Machine("node7", "Linux", "a CPU", 8, 8, 2**34)
    done = Scripted(replace(DONE, machine=node))
    crashed = Scripted(Ended("crashed", reason="SIGSEGV", machine=node))
    for executor in (done, crashed):
        assert record_of(Experiment("cost", (PLAIN,)), tmp_path, executor=executor).machine == node
    assert record_of(Experiment("cost", (PLAIN,)), tmp_path, executor=Scripted(DONE)).machine is None


def test_work_is_named_by_stage(tmp_path: Path) -> None:
    context = WorkContext(executor := Scripted(DONE, DONE, DONE, DONE), Limits(), tmp_path, frozenset(), ignore)
    for stage, weights in (("cost", None), ("memory", None), ("train", None), ("train", "w.safetensors")):
        one = Experiment(stage, (PLAIN,), 0, DataSettings(), TrainSettings(), labels=("conv",), eval_weights=weights)
        list(STAGES[stage].measure(one, context))
    names = ["count_cost", "measure_memory", "train", "evaluate_weights"]
    assert [function for function, *_ in executor.asked] == [f"drbench.experiment:{name}" for name in names]


def test_one_line_says_what_a_record_holds(tmp_path: Path) -> None:
    costs = (Measurement("madds", 12_340_000, "multiply-adds"), Measurement("params", 5_678_000, "parameters"))
    record = record_of(Experiment("cost", (PLAIN,)), tmp_path, executor=Scripted(Ended("done", Result({}, costs))))
    assert line(record) == "cost net conv: 12.34 M multiply-adds, 5.68 M parameters"
    assert line(replace(record, status="failed", error="crashed: SIGSEGV")) == "cost net conv: failed: crashed: SIGSEGV"
    times = (Measurement("latency", 0.00123, "s", context={"batch_size": 1}),)
    for stage in ("latency", "noise"):
        timed = replace(record, stage=stage, measurements=times, seed=None)
        assert line(timed) == f"{stage} net conv: 1.23 ms at batch 1"
    trained = replace(record, stage="train", seed=3, measurements=(Measurement("top1", 0.671, "fraction"),))
    assert line(trained) == "train net conv seed 3: top-1 67.10% on test"
