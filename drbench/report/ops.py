"""Records of the operator benchmark -> tables of raw figures: shape, way, batch and pass.

The records are those of `drbench.run.opbench.convert`. A table shows one run, whose figures were measured together. If
several runs have the same settings and machine, it shows the newest finished one and names the others.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import TYPE_CHECKING, Any

from drbench import protocol_versions
from drbench.records import OPS, Measurement, Record, Run
from drbench.statistics.samples import quantile

if TYPE_CHECKING:
    from drbench_db import Store

OURS = "region_conv2d"
REFERENCES = ("conv", "nn.Conv2d")


@dataclass(frozen=True)
class Figures:
    """The figures of one way, shape, batch and pass: seconds, ratios, bytes. None: not measured, or not applicable."""

    latency: float
    latency_p25: float | None = None
    latency_p75: float | None = None
    samples: int = 0
    ratio: float | None = None
    ratio_p25: float | None = None
    ratio_p75: float | None = None
    ratio_to: str = ""
    extra_memory: int | None = None
    path: str = ""
    regions_present: float | None = None
    limit: float | None = None
    limit_ratio: float | None = None

    @property
    def share(self) -> float | None:
        """The limit divided by the latency."""
        return None if self.limit is None else self.limit / self.latency


Case = tuple[int, str]
"""Batch and pass."""


@dataclass(frozen=True)
class Shape:
    """One layer: size (C, O, H, W, k, stride); way -> case -> figures; notes on skipped or failed cases."""

    name: str
    size: tuple[int, int, int, int, int, int]
    networks: tuple[str, ...]
    ways: Mapping[str, Mapping[Case, Figures]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class OpsTable:
    """One run. `others`: ids of runs with the same settings and machine, finished ones first."""

    run: Run
    settings: Mapping[str, Any]
    rates: Mapping[str, Any]
    clock: str
    kernels: str
    cases: tuple[Case, ...]
    ways: tuple[str, ...]
    shapes: tuple[Shape, ...]
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mean:
    """The geometric mean of positive values, and their number."""

    value: float
    count: int


def mean(values: Iterable[float | None]) -> Mean | None:
    """The geometric mean of the values that are not None and positive; None if there are none."""
    known = [value for value in values if value is not None and value > 0]
    return Mean(exp(sum(map(log, known)) / len(known)), len(known)) if known else None


def ops_tables(store: Store, *, run: str | None = None, suite: str | None = None) -> tuple[OpsTable, ...]:
    """The tables of a store, the newest first; optionally of one run or one suite."""
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for candidate in store.runs(suite):
        if is_ops(candidate) and run in (None, candidate.id):
            columns, _ = store.rows(run=candidate.id, names=())
            settings = (json.loads(text) for text in columns["settings"])
            used = protocol_versions.of_records(zip(columns["stage"], settings, strict=True))
            groups.setdefault((candidate.suite_text, candidate.machine, *used.items()), []).append(candidate)
    tables = []
    for runs in groups.values():
        runs.sort(key=lambda entry: entry.status == "done", reverse=True)  # stable: the newest of each stays first
        records = store.records(runs[0].id, stage=OPS)
        if records:
            tables.append(_table(runs[0], records, tuple(other.id for other in runs[1:])))
    return tuple(tables)


def is_ops(run: Run) -> bool:
    """Whether a run is an operator benchmark: its suite text has the settings of the benchmark."""
    return run.suite_text.startswith(f"{OPS} = {{")


def _table(run: Run, records: Sequence[Record], others: tuple[str, ...]) -> OpsTable:
    settings: dict[str, Any] = tomllib.loads(run.suite_text)[OPS]
    newest = {(record.variant.architecture, record.variant.operator): record for record in records}
    shapes: dict[str, list[Record]] = {}
    for (name, _), record in newest.items():
        shapes.setdefault(name, []).append(record)
    order = {name: number for number, name in enumerate(settings["shapes"])}
    present = {record.variant.operator for record in newest.values()}
    settings_of_last = records[-1].settings
    return OpsTable(
        run=run,
        settings=settings,
        rates=settings_of_last["rates"],
        clock=settings_of_last["clock"],
        kernels=settings_of_last["kernels"],
        cases=tuple((batch, name) for batch in settings["batch_sizes"] for name in settings["passes"]),
        ways=tuple(way for way in settings["ways"] if way in present),
        shapes=tuple(_shape(shapes[name]) for name in sorted(shapes, key=lambda name: order.get(name, len(order)))),
        others=others,
    )


def _shape(records: Sequence[Record]) -> Shape:
    variant = records[0].variant
    arguments = variant.architecture_args
    channels, height, width = variant.input_shape
    notes = []
    for record in records:
        notes += [f"{record.label}: {note}" for note in record.notes]
        notes += [f"{record.label}: failed: {record.error}"] if record.status != "done" else []
    return Shape(
        name=variant.architecture,
        size=(channels, arguments["outputs"], height, width, arguments["kernel"], arguments["stride"]),
        networks=tuple(records[0].settings["networks"]),
        ways={record.variant.operator: _figures(record) for record in records},
        notes=tuple(notes),
    )


def _figures(record: Record) -> dict[Case, Figures]:
    cases: dict[Case, dict[str, Measurement]] = {}
    for measurement in record.measurements:
        case = measurement.context["batch_size"], measurement.part
        cases.setdefault(case, {})[measurement.name] = measurement
    return {case: _of_case(named) for case, named in cases.items() if "latency" in named}


def _of_case(named: Mapping[str, Measurement]) -> Figures:
    latency, ratio, memory = named["latency"], named.get("op_ratio"), named.get("extra_memory")
    limit, over = named.get("limit"), named.get("limit_ratio")
    return Figures(
        latency=latency.value,
        latency_p25=quantile(latency.samples, 0.25),
        latency_p75=quantile(latency.samples, 0.75),
        samples=len(latency.samples),
        ratio=None if ratio is None else ratio.value,
        ratio_p25=None if ratio is None else quantile(ratio.samples, 0.25),
        ratio_p75=None if ratio is None else quantile(ratio.samples, 0.75),
        ratio_to="" if ratio is None else ratio.context["to"],
        extra_memory=None if memory is None else round(memory.value),
        path=latency.context["path"],
        regions_present=latency.context["regions_present"],
        limit=None if limit is None else limit.value,
        limit_ratio=None if over is None else over.value,
    )
