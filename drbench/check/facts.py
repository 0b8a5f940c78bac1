"""The facts of a variant, by metric: gathered from the records of a run, or read from a baseline file.

Both sources give the same facts, so a check works with a file and with another run. Facts can be written as JSON, and
contain only what a verdict needs.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from drbench import bounds, conditions, figures
from drbench.check.metrics import COMMON, stage
from drbench.errors import FailedError, InputError
from drbench.figures import DEFAULT, Figure, TaskFigures
from drbench.outcomes import right
from drbench.records import Measurement, Record, Run

DIGITS = 6
"""Decimal digits of log ratios: a millionth is far below the resolution of any clock."""

Count = Annotated[int, Field(ge=0, le=bounds.INTEGER)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
LogRatio = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
"""The logarithm of a ratio between 10**-43 and 10**43."""
Bytes = Annotated[float, Field(gt=0, le=1e18, allow_inf_nan=False)]


class Facts(BaseModel):
    """Base of all facts. Strict, so that a wrong edit of a file is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Layer(Facts):
    """The cost of one layer. `executed`: only for an operator that declares no multiply-adds, else None."""

    layer: str
    kind: str
    madds: Count | None = None
    executed: Count | None = None
    params: Count

    @property
    def work(self) -> int:
        """Multiply-adds by the convention, else the executed ones."""
        return self.executed or 0 if self.madds is None else self.madds


class Costs(Facts):
    """The cost of a network: its layers in their order."""

    run: str
    conditions: dict[str, Any]
    layers: tuple[Layer, ...]


class Ratio(Facts):
    """The latency at one batch size: each worker's log ratio to the plain network. `floor`: those of its copy."""

    batch: Annotated[int, Field(ge=1)]
    conditions: dict[str, Any]
    workers: Annotated[tuple[LogRatio, ...], Field(min_length=1)]
    floor: tuple[LogRatio, ...] = ()


class Latency(Facts):
    """Ratios to the plain network, by batch size. Times are not kept: they depend on the state of the machine."""

    run: str
    ratios: tuple[Ratio, ...]


class Peak(Facts):
    """Peak memory of inference in bytes, on the "host" or the "device". `samples`: one per process, if several."""

    part: str
    conditions: dict[str, Any]
    bytes: Bytes
    samples: tuple[Bytes, ...] = ()


class Memory(Facts):
    """Peak memory, by part."""

    run: str
    peaks: tuple[Peak, ...]


class Seed(Facts):
    """The value of a figure for one set of weights, over `count` units (images, pairs) of the test part.

    `correct`: one bit per unit, in the order of the units, in base64. "" if the answers are not recorded, or if
    the figure is not a share of correct answers.
    """

    seed: int | None = None
    value: Finite
    count: Count = 0
    correct: str = ""

    @model_validator(mode="after")
    def _as_many_bits_as_images(self) -> Self:
        try:
            size = len(base64.b64decode(self.correct, validate=True))
        except ValueError:
            raise ValueError("`correct` should be base64") from None
        if self.correct and size != -(-self.count // 8):
            raise ValueError(f"`correct` should hold a bit for each of {self.count} units, got {size} bytes")
        return self

    @property
    def answers(self) -> tuple[bool, ...]:
        """Whether the answer was correct, for each unit."""
        raw = base64.b64decode(self.correct)
        return tuple(bool(raw[number // 8] >> (7 - number % 8) & 1) for number in range(self.count))


class Scores(Facts):
    """One figure of a task, for trained or given weights.

    training: what a claim about the operator depends on, in addition to `conditions`; {} for given weights.
    figures: the declaration of a task that drbench does not have, as `figures.as_table` writes it.
    """

    figure: str
    run: str
    conditions: dict[str, Any]
    training: dict[str, Any] = Field(default_factory=dict)
    task: str = DEFAULT
    figures: dict[str, Any] | None = None
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_declared(self) -> Self:
        if self.declared.per_unit and not all(0 <= entry.value <= 1 for entry in self.seeds):
            raise ValueError(f"{self.figure} should be a fraction, from 0 to 1")
        return self

    @property
    def _of_task(self) -> TaskFigures:
        settings = {figures.TASK: self.task}
        return figures.of_settings(settings if self.figures is None else {**settings, figures.FIGURES: self.figures})

    @property
    def declared(self) -> Figure:
        """The declaration of the figure. InputError, a ValueError, if the task does not declare it."""
        return self._of_task.figure(self.figure)

    @property
    def unit(self) -> str:
        """What is counted, such as "image" or "pair"."""
        return self._of_task.unit


class VariantFacts(Facts):
    """All facts of one variant, by metric. `scores` has the figures of a task, by name.

    Not written to a file: `failed` (metric -> reason) and `notes` (of measurements, such as a busy machine).
    """

    hash: str
    costs: Costs | None = None
    latency: Latency | None = None
    memory: Memory | None = None
    scores: dict[str, Scores] = Field(default_factory=dict)
    failed: dict[str, str] = Field(default_factory=dict, exclude=True)
    notes: tuple[str, ...] = Field(default=(), exclude=True)

    def of(self, metric: str) -> Any:
        """The facts of a metric, or None."""
        return getattr(self, metric) if metric in COMMON else self.scores.get(metric)

    def known(self) -> tuple[str, ...]:
        """The metrics with facts."""
        return (*(metric for metric in COMMON if self.of(metric) is not None), *self.scores)

    def updated(self, hash: str, changed: Mapping[str, Any]) -> VariantFacts:
        """A copy with these facts, by metric, in place of the present ones."""
        common = {metric: facts for metric, facts in changed.items() if metric in COMMON}
        scores = {**self.scores, **{metric: facts for metric, facts in changed.items() if metric not in COMMON}}
        return self.model_copy(update={"hash": hash, **common, "scores": dict(sorted(scores.items()))})


def gather(run: Run, records: Iterable[Record], metrics: Iterable[str] | None = None) -> dict[str, VariantFacts]:
    """architecture/label -> its facts of these metrics (None: COMMON and the headline of its task).

    In the order of the records. If two networks have the same name, their hashes are added: "resnet18/conv (1a2b3c4d)".
    """
    wanted = None if metrics is None else tuple(metrics)
    stages = {*map(stage, COMMON), "train"}
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.stage in stages:
            name = f"{record.variant.architecture}/{record.label}"
            groups.setdefault((name, record.variant_hash), []).append(record)
    same = Counter(name for name, _ in groups)
    return {
        name if same[name] == 1 else f"{name} ({key[:8]})": _variant(run, key, group, wanted)
        for (name, key), group in groups.items()
    }


def _variant(run: Run, key: str, records: Sequence[Record], metrics: Sequence[str] | None) -> VariantFacts:
    headline = _task([record for record in records if record.stage == "train"]).headline
    names = (*COMMON, headline) if metrics is None else metrics
    by_metric = {metric: [record for record in records if record.stage == stage(metric)] for metric in names}
    failed = {metric: reason for metric, rows in by_metric.items() if (reason := _failure(rows))}
    gathered: dict[str, Any] = {}
    for metric, rows in by_metric.items():
        done = [record for record in rows if record.status == "done"]
        if done and metric not in failed:
            try:
                facts = _MAKERS[metric](run, done) if metric in COMMON else _scores(run, done, metric)
            except InputError:
                raise
            except ValueError as error:  # also pydantic's: figures that no measurement gives
                raise FailedError(f"{_where(run, done[-1])}: {_first(error)}") from error
            if facts is not None:
                gathered[metric] = facts
    measured = [record for record in records if record.stage in (stage("latency"), stage("memory"))]
    notes = [note for record in sorted(measured, key=lambda record: record.stage) for note in record.notes]
    return VariantFacts(hash=key, failed=failed, notes=tuple(dict.fromkeys(notes))).updated(key, gathered)


def _task(records: Sequence[Record]) -> TaskFigures:
    """The task of these trainings. A training that failed before its task was loaded does not know the figures."""
    tasks = [figures.of_settings(record.settings) for record in records]
    return next(filter(figures.is_declared, tasks), tasks[0] if tasks else figures.BUILT_IN[DEFAULT])


def _where(run: Run, record: Record) -> str:
    return f"run {run.id}, {record.stage} of {record.variant.architecture}/{record.label} is damaged"


def _first(error: ValueError) -> str:
    """The first error in one line."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)


def _failure(records: Sequence[Record]) -> str:
    """The reason why a stage of a variant failed; "" if the last record of each piece of work is done."""
    last = {record.key: record for record in records}
    for record in last.values():
        if record.status != "done":
            seed = "" if record.seed is None else f"seed {record.seed}: "
            return f"{seed}{record.error or record.status}"
    return ""


def _costs(run: Run, done: Sequence[Record]) -> Costs:
    record = done[-1]
    layers = tuple(
        Layer(
            layer=layer.name,
            kind=layer.kind,
            madds=layer.madds,
            executed=layer.executed if layer.madds is None else None,
            params=layer.params,
        )
        for layer in record.layers
    )
    return Costs(run=run.id, conditions=conditions.of_costs(record), layers=layers)


def _latency(run: Run, done: Sequence[Record]) -> Latency | None:
    """The latency facts; None for the plain network, which is the reference."""
    record = done[-1]
    measurements = record.measurements
    floors = {m.context.get("batch_size"): _workers(m) for m in measurements if m.name == "latency_floor"}
    ratios = tuple(
        Ratio(
            batch=m.context["batch_size"],
            conditions=conditions.of_machine(record, run.machine, _without_batch(m.context)),
            workers=_workers(m),
            floor=floors.get(m.context["batch_size"], ()),
        )
        for m in measurements
        if m.name == "latency_ratio"
    )
    return Latency(run=run.id, ratios=ratios) if ratios else None


def _without_batch(context: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in context.items() if key != "batch_size"}


def _workers(measurement: Measurement) -> tuple[float, ...]:
    """The log ratio of each worker; with one process, that of the value."""
    log_ratios = measurement.context.get("worker_log_ratios") or [math.log(measurement.value)]
    return tuple(round(value, DIGITS) for value in log_ratios)


def _memory(run: Run, done: Sequence[Record]) -> Memory | None:
    peaks = tuple(_peaks(run, done[-1]))
    return Memory(run=run.id, peaks=peaks) if peaks else None


def _peaks(run: Run, record: Record) -> Iterator[Peak]:
    for m in record.measurements:
        if m.name == "peak_memory" and m.value > 0:
            settings = conditions.of_machine(record, run.machine, m.context)
            yield Peak(part=m.part or "host", conditions=settings, bytes=m.value, samples=m.samples)


_MAKERS: Mapping[str, Callable[[Run, Sequence[Record]], Any]] = {
    "costs": _costs,
    "latency": _latency,
    "memory": _memory,
}
"""Metric of COMMON -> (run, its finished records) -> its facts."""


def _scores(run: Run, done: Sequence[Record], figure: str) -> Scores:
    latest = {record.seed: record for record in done}
    first, task = done[0], figures.of_settings(done[0].settings)
    declared = task.figure(figure)
    table = None
    if task.task not in figures.BUILT_IN:
        table = figures.as_table(TaskFigures(task.task, figure, (declared,), task.unit))
    return Scores(
        figure=figure,
        run=run.id,
        conditions=conditions.of_answers(first),
        training={} if "eval_weights" in first.settings else conditions.of_training(first),
        task=task.task,
        figures=table,
        seeds=tuple(
            _seed(latest[seed], declared, task)
            for seed in sorted(latest, key=lambda seed: (seed is not None, seed or 0))
        ),
    )


def _seed(record: Record, figure: Figure, task: TaskFigures) -> Seed:
    value = next((m.value for m in record.measurements if m.name == figure.name and not m.part), None)
    if value is None:
        raise ValueError(f"{figure.name}: got nothing; expected its value over the test {task.unit}s")
    kept = record.outcomes
    answers = right(kept).tolist() if kept is not None and figure.per_unit and figure.name == task.headline else []
    packed = base64.b64encode(pack(answers)).decode()
    return Seed(seed=record.seed, value=round(value, DIGITS), count=kept.count if kept else 0, correct=packed)


def pack(bits: Iterable[bool]) -> bytes:
    """Pack bits into bytes, the first bit highest; the last byte is padded with zeros.

    >>> pack([True, False, False, False, False, False, False, True, True]).hex()
    '8180'
    """
    text = "".join("1" if bit else "0" for bit in bits)
    size = -(-len(text) // 8)
    return int(text.ljust(8 * size, "0") or "0", 2).to_bytes(size, "big")
