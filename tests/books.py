"""Runs as a store would give them back, with figures that a test chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp
from statistics import fmean
from typing import Any

import pytest

from drbench.check.facts import VariantFacts, gather
from drbench.figures import TaskFigures, as_table
from drbench.outcomes import encode
from drbench.records import Code, LayerCost, Machine, Measurement, Record, Run, Variant

SUITE = 'name = "two"\narchitectures = ["net"]\n'
MACHINE = Machine("box", "Linux", "a CPU", 2, 4, 8 << 30, torch="2.14.0")
RUN = Run(
    "20261101-1200-two-ab12", "two", SUITE, "drbench", "2026-11-01T12:00:00Z", MACHINE, Code("0.1.0", "", "c0ffee")
)
VARIANT = Variant("net", input_shape=(3, 8, 8), num_classes=10)
LAYERS = (
    LayerCost("stem", "Conv2d", (4, 8, 8), 6912, 6912, 108),
    LayerCost("body", "Conv2d", (8, 8, 8), 18432, 18432, 288),
    LayerCost("head", "Linear", (10,), 80, 80, 90),
)
MORE = (*LAYERS, LayerCost("more", "Conv2d", (4, 8, 8), 6912, 6912, 108))
TIMED = {"threads": 2, "dtype": "float32", "device": "cpu", "channels_last": True}
LEARNT = {
    "data_digest": "d1",
    "preprocessing": {"mean": [0.5]},
    "train": {"precision": "fp32", "epochs": 3, "threads": 2},
}


@dataclass
class Book:
    """A run and its records; every method adds one."""

    run: Run = RUN
    records: list[Record] = field(default_factory=list)

    def record(self, stage: str, variant: str = "net/conv", **about: Any) -> Book:
        architecture, label = variant.split("/")
        of = replace(VARIANT, architecture=architecture, operator=label.split()[0])
        key = f"{stage} {variant} {about.get('seed')}"
        times = ("2026-11-01T12:00:00Z", "2026-11-01T12:00:01Z")
        given = {"status": "done", **about}
        self.records.append(
            Record(key, of, f"hash of {variant}", label, stage, started=times[0], finished=times[1], **given)
        )
        return self

    def costs(self, variant: str = "net/conv", layers: Sequence[LayerCost] = LAYERS, counting: int = 1) -> Book:
        return self.record("cost", variant, layers=tuple(layers), settings={"counting": counting})

    def latency(
        self,
        workers: Sequence[float],
        floor: Sequence[float] = (),
        variant: str = "net/drconv m=8",
        batch: int = 1,
        **context: Any,
    ) -> Book:
        def measured(name: str, logs: Sequence[float]) -> Measurement:
            about = {**TIMED, "batch_size": batch, "worker_log_ratios": list(logs), **context}
            return Measurement(name, exp(fmean(logs)), "ratio", "lower", "", (), about)

        found = [measured("latency_ratio", workers)]
        if floor:
            found.append(measured("latency_floor", floor))
        return self.record("latency", variant, measurements=tuple(found))

    def memory(self, size: float, samples: Sequence[float] = (), variant: str = "net/conv", part: str = "host") -> Book:
        about = {**TIMED, "batch_size": 8}
        return self.record(
            "memory",
            variant,
            measurements=(Measurement("peak_memory", size, "bytes", "lower", part, tuple(samples), about),),
        )

    def answers(
        self, right: Sequence[bool], seed: int | None = 0, given: bool = False, settings: Mapping[str, Any] = LEARNT
    ) -> Book:
        """A training with these answers, or weights that were `given`."""
        about = {**settings, **({"eval_weights": "w.safetensors"} if given else {})}
        top1 = Measurement("top1", sum(right) / len(right), "fraction", "higher")
        outcomes = encode("image", "rank-u8", [0 if one else 3 for one in right])
        return self.record("train", seed=seed, settings=about, measurements=(top1,), outcomes=outcomes)

    def scored(
        self,
        declared: TaskFigures,
        values: Mapping[str, float],
        seed: int | None = 0,
        right: Sequence[bool] = (),
        given: bool = False,
    ) -> Book:
        """A training, or weights that were `given`, of another task than classification."""
        of_task = {"task": declared.task, "figures": as_table(declared)}
        about = {**LEARNT, **of_task, **({"eval_weights": "w.safetensors"} if given else {})}
        found = tuple(Measurement(f.name, values[f.name], f.unit, f.direction) for f in declared.figures)
        outcomes = encode(declared.unit, "right-u8", list(right))
        return self.record("train", seed=seed, settings=about, measurements=found, outcomes=outcomes)

    def facts(self, metrics: Sequence[str] | None = None) -> dict[str, VariantFacts]:
        return gather(self.run, self.records, metrics)


@pytest.fixture
def book() -> Callable[..., Book]:
    """Makes empty Books; a name gives the run another id."""

    def make(name: str = "ab12", **changes: Any) -> Book:
        return Book(replace(RUN, id=f"20261101-1200-two-{name}", **changes))

    return make
