"""The long frame -> the newest records of each variant under each set of conditions.

A record of the stage `train` has its own conditions (data, settings). Cost and latency do not depend on them: they
apply to all conditions of their run, or, if the run trained nothing, to those of the same suite and machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import pandas as pd

from drbench import figures, protocol_versions
from drbench.conditions import of_recipe
from drbench.errors import InputError
from drbench.figures import TaskFigures
from drbench.report.model import Conditions

NAMES = (
    *("madds", "executed", "params", "activations", "reference_madds", "reference_params"),
    *("latency", "latency_ratio", "latency_floor", "peak_memory", "train_images_per_second"),
)
"""The measurements that a report is made of, whatever the task."""


def names_of(records: Mapping[str, Sequence[Any]]) -> set[str]:
    """NAMES, and the figures that the tasks of the records declare, with their validation scores.

    `records`: the columns of `Store.rows`. Settings that are damaged have none.
    """
    trained = {text for text, stage in zip(records["settings"], records["stage"], strict=True) if stage == "train"}
    names = set(NAMES)
    for settings in trained:
        with suppress(InputError, ValueError, TypeError, AttributeError):
            task = _task(settings)
            names |= {*task.names, task.validation}
    return names


RECORD_COLUMNS = (
    *("record", "run", "suite", "architecture", "operator", "label", "regions", "recipe", "width", "input_shape"),
    *("num_classes", "matched_by", "matched_to", "architecture_args", "stem_stride", "sources", "variant", "stage"),
    *("seed", "status", "error", "finished", "data", "settings"),
    *("machine", "hostname", "cpu", "gpu", "torch", "drbench"),
)
FIGURE_COLUMNS = (
    *("record", "name", "value", "batch_size", "threads", "dtype", "device"),
    *(
        "sample_count",
        "spread_low",
        "spread_high",
        "p90",
        "p99",
        "interval_low",
        "interval_high",
        "channels_last",
        "part",
    ),
)
Way = tuple[int, int, str, str, bool]
"""Settings of a latency: batch size, threads, dtype, device, channels last (the default for old records)."""


class Figure(NamedTuple):
    """One measurement, with fields in the order of FIGURE_COLUMNS."""

    record: int
    name: str
    value: float | None
    batch_size: int | None
    threads: int | None
    dtype: str | None
    device: str | None
    sample_count: int
    low: float | None
    high: float | None
    p90: float | None
    p99: float | None
    interval_low: float | None
    interval_high: float | None
    channels_last: bool | None
    part: str

    @property
    def way(self) -> Way:
        """The settings of a latency."""
        return (
            self.batch_size or 0,
            self.threads or 0,
            self.dtype or "",
            self.device or "",
            self.channels_last is not False,
        )


@dataclass
class Gathered:
    """One variant under one set of conditions: its newest records by (stage, seed), and their figures."""

    first: Any
    records: dict[tuple[str, int | None], Any] = field(default_factory=dict)
    figures: dict[int, list[Figure]] = field(default_factory=dict)

    def of(self, stage: str) -> Iterator[tuple[int | None, list[Figure]]]:
        """(seed, figures) of each finished record of a stage."""
        for (record_stage, seed), record in self.records.items():
            if record_stage == stage and record.status == "done":
                yield seed, self.figures.get(record.record, [])


def gather(frame: pd.DataFrame) -> dict[Conditions, dict[str, Gathered]]:
    """Conditions -> variant hash -> its newest records, in the order of the frame."""
    records = list(_tuples(frame.loc[~frame["record"].duplicated().to_numpy()], RECORD_COLUMNS, "Record"))
    parts = (frame["part"] == "").to_numpy() | (frame["name"] == "peak_memory").to_numpy()
    named = frame["name"].isin(names_of({name: frame[name].tolist() for name in ("settings", "stage")})).to_numpy()
    whole = frame.loc[named & parts]
    by_record: dict[int, list[Figure]] = {}
    for values in zip(*(_values(whole[name]) for name in FIGURE_COLUMNS), strict=True):
        figure = Figure(*values)
        by_record.setdefault(figure.record, []).append(figure)
    by_conditions: dict[Conditions, dict[str, Gathered]] = {}
    for record, conditions in _placed(records):
        gathered = by_conditions.setdefault(conditions, {}).setdefault(record.variant, Gathered(record))
        gathered.first = record  # the latest label applies
        before = gathered.records.get((record.stage, record.seed))
        if before is None or _age(record) >= _age(before):
            gathered.records[record.stage, record.seed] = record
            gathered.figures[record.record] = by_record.get(record.record, [])
    return by_conditions


def _age(record: Any) -> tuple[bool, str, int]:
    """Sort key: finished records after others, then by time."""
    return (record.status == "done", record.finished, record.record)


def _placed(records: list[Any]) -> Iterator[tuple[Any, Conditions]]:
    """Each record with every set of conditions that it applies to."""
    places = _places(records)
    by_run: dict[Any, dict[Conditions, None]] = {}
    by_place: dict[Any, dict[Conditions, None]] = {}
    own: dict[int, Conditions] = {}
    opened: dict[tuple[Any, str], str] = {}
    declared: dict[tuple[Any, str], TaskFigures] = {}
    for record in records:  # records that failed early get the facts of data and task from other records
        place = places[record.record]
        if record.data is not None and "data_digest" in record.settings:
            opened[place, _requested(record.settings)] = record.settings
        if figures.is_declared(task := _task(record.settings)):
            declared[place, task.task] = task
    for record in records:
        if record.data is not None:
            place = places[record.record]
            settings = record.settings
            if "data_digest" not in settings:
                settings = opened.get((place, _requested(settings)), settings)
            task = _task(record.settings)
            if not figures.is_declared(task):
                task = declared.get((place, task.task), task)
            own[record.record] = conditions = _conditions(place, settings, task)
            by_run.setdefault((record.run, place), {})[conditions] = None
            by_place.setdefault(place, {})[conditions] = None
    for record in records:
        if record.record in own:
            yield record, own[record.record]
            continue
        place = places[record.record]
        task = _task(record.settings)
        alike = [conditions for conditions in by_place.get(place, ()) if conditions.task.task == task.task]
        for conditions in by_run.get((record.run, place)) or alike or [_conditions(place, "{}", task)]:
            yield record, conditions


class _Place(NamedTuple):
    """What records of all stages must share to be in one table."""

    suite: str
    input_shape: str
    num_classes: int
    computer: str
    machine: str
    protocols: tuple[tuple[str, int], ...] = ()
    drbench: str = ""


def _places(records: list[Any]) -> dict[int, _Place]:
    """Record number -> its place.

    The protocols are those of the record's run. For a protocol that a run does not use (one that only trains counts
    nothing), the latest version applies. `drbench`: all releases that made figures at this place.
    """
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for record in records:
        of = (record.suite, record.input_shape, record.num_classes, record.machine)
        groups.setdefault((of, record.run), []).append(record)
    latest: dict[Any, dict[str, int]] = {}
    used = {}
    for (of, run), members in groups.items():
        settings = {(record.stage, record.settings) for record in members}
        used[of, run] = protocol_versions.of_records((stage, json.loads(text)) for stage, text in settings)
        for name, version in used[of, run].items():
            latest.setdefault(of, {})[name] = max(version, latest.get(of, {}).get(name, 1))
    places = {}
    releases = dict[_Place, set[str]]()
    for (of, run), members in groups.items():
        versions = {**latest.get(of, {}), **used[of, run]}
        suite, shape, classes, machine = of
        place = _Place(suite, shape, classes, _computer(members[0]), machine, tuple(sorted(versions.items())))
        places[of, run] = place
        releases.setdefault(place, set()).update({record.drbench for record in members})
    return {
        record.record: place
        for group, members in groups.items()
        for place in [places[group]._replace(drbench=", ".join(sorted(releases[places[group]])))]
        for record in members
    }


def _computer(record: Any) -> str:
    torch = record.torch and f"torch {record.torch}"
    return ", ".join(part for part in (record.hostname, record.cpu, record.gpu, torch) if part)


@cache
def _requested(settings: str) -> str:
    """The requested settings, without facts from the opened data set."""
    table = json.loads(settings)
    return json.dumps([table.get("data"), table.get("train"), table.get("eval_weights")], sort_keys=True)


@cache
def _task(settings: str) -> TaskFigures:
    """The task in the settings of a record."""
    return figures.of_settings(json.loads(settings))


@cache
def _conditions(place: _Place, settings: str, task: TaskFigures) -> Conditions:
    table = json.loads(settings)
    data = table.get("data") or {}
    train = of_recipe(table.get("train") or {})
    if table.get("eval_weights"):
        trained = table.get("trained") or {}  # weights are comparable only if their trainings are
        recipe = {f"trained.{key}": value for key, value in of_recipe(trained).items()}
        train = {"preset": "evaluated from saved weights", **recipe}
    name = str(data.get("name", ""))
    facts = {f"data.{key}": value for key, value in data.items() if key not in ("name", "synthetic")}
    facts["data.digest"] = table.get("data_digest")
    return Conditions(
        suite=place.suite,
        data=name,
        synthetic=bool(table.get("synthetic", data.get("synthetic", name == "shapes"))),
        training=json.dumps({**train, **facts}, sort_keys=True) if name else "",
        input_shape=place.input_shape,
        num_classes=place.num_classes,
        machine=f"{place.computer} [{place.machine[:8]}]",
        drbench=place.drbench,
        older_protocol=protocol_versions.older(dict(place.protocols)),
        task=task,
    )


def _tuples(frame: pd.DataFrame, names: tuple[str, ...], kind: str) -> Iterator[Any]:
    record_type = NamedTuple(kind, [(name, Any) for name in names])  # type: ignore[misc]
    return (record_type(*values) for values in zip(*(_values(frame[name]) for name in names), strict=True))


def _values(column: pd.Series[Any]) -> list[Any]:
    """The Python values of a column, with None for missing values and NaN."""
    if column.dtype.kind == "b":
        return column.tolist()
    values = column.tolist()
    return [None if is_missing else value for value, is_missing in zip(values, column.isna().tolist(), strict=True)]
