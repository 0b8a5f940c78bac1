"""What is known of a variant, metric by metric: gathered from a run's records, or read from a baseline file.

Both are the same facts, so that whatever is judged against a file can be judged against another run. They are plain
enough for JSON and hold what a verdict needs and no more.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from drbench import bounds, conditions
from drbench.errors import FailedError
from drbench.records import Measurement, Record, Run

METRICS: Mapping[str, str] = {"costs": "cost", "latency": "latency", "memory": "memory", "top1": "train"}
"""Metric -> the stage that its facts come from."""

DIGITS = 6
"""Of log-ratios: a millionth is far below what any clock tells."""

Count = Annotated[int, Field(ge=0, le=bounds.INTEGER)]
Share = Annotated[float, Field(ge=0, le=1)]
LogRatio = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
"""Of a ratio between 10**-43 and 10**43."""
Bytes = Annotated[float, Field(gt=0, le=1e18, allow_inf_nan=False)]


class Facts(BaseModel):
    """Strict, so that a file edited by hand is right or refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Layer(Facts):
    """One layer's cost. `executed` counts where its operator declares no multiply-adds, and is None elsewhere."""

    layer: str
    kind: str
    madds: Count | None = None
    executed: Count | None = None
    params: Count

    @property
    def work(self) -> int:
        """Multiply-adds by the convention, else those that ran."""
        return self.executed or 0 if self.madds is None else self.madds


class Costs(Facts):
    """Layers in the network's own order."""

    run: str
    conditions: dict[str, Any]
    layers: tuple[Layer, ...]


class Ratio(Facts):
    """At one batch size: each worker's log-ratio to the plain network, and of the plain network's copy to it."""

    batch: Annotated[int, Field(ge=1)]
    conditions: dict[str, Any]
    workers: Annotated[tuple[LogRatio, ...], Field(min_length=1)]
    floor: tuple[LogRatio, ...] = ()


class Latency(Facts):
    """Ratios to the plain network, by batch size; a time alone would say more about the day than about the variant."""

    run: str
    ratios: tuple[Ratio, ...]


class Peak(Facts):
    """Bytes that inference held at most, on the "host" or the "device"; each of several samples is a process."""

    part: str
    conditions: dict[str, Any]
    bytes: Bytes
    samples: tuple[Bytes, ...] = ()


class Memory(Facts):
    """Peaks by part."""

    run: str
    peaks: tuple[Peak, ...]


class Seed(Facts):
    """One set of weights on the test images. `correct`: a bit an image (first image first, base64); "" if not known."""

    seed: int | None = None
    top1: Share
    images: Count = 0
    correct: str = ""

    @model_validator(mode="after")
    def _as_many_bits_as_images(self) -> Self:
        try:
            size = len(base64.b64decode(self.correct, validate=True))
        except ValueError:
            raise ValueError("`correct` should be base64") from None
        if self.correct and size != -(-self.images // 8):
            raise ValueError(f"`correct` should hold a bit for each of {self.images} images, got {size} bytes")
        return self

    @property
    def answers(self) -> tuple[bool, ...]:
        """Image by image, whether the answer was right."""
        raw = base64.b64decode(self.correct)
        return tuple(bool(raw[number // 8] >> (7 - number % 8) & 1) for number in range(self.images))


class Accuracy(Facts):
    """top-1 of trained or given weights. `training` is what a claim about the operator depends on beside `conditions`;
    weights that were given have none.
    """

    run: str
    conditions: dict[str, Any]
    training: dict[str, Any] = Field(default_factory=dict)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]


class VariantFacts(Facts):
    """All that is known of one variant. `failed` (metric -> why) and `notes` (of what was measured, such as a busy
    machine) never get into a file.
    """

    hash: str
    costs: Costs | None = None
    latency: Latency | None = None
    memory: Memory | None = None
    top1: Accuracy | None = None
    failed: dict[str, str] = Field(default_factory=dict, exclude=True)
    notes: tuple[str, ...] = Field(default=(), exclude=True)

    def known(self) -> tuple[str, ...]:
        """The metrics that have something to say."""
        return tuple(metric for metric in METRICS if getattr(self, metric) is not None)


def gather(run: Run, records: Iterable[Record]) -> dict[str, VariantFacts]:
    """architecture/label -> its facts, in the order of the records. Two networks of one name get their hashes after
    it, as in "resnet18/conv (1a2b3c4d)".
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.stage in METRICS.values():
            name = f"{record.variant.architecture}/{record.label}"
            groups.setdefault((name, record.variant_hash), []).append(record)
    same = Counter(name for name, _ in groups)
    return {
        name if same[name] == 1 else f"{name} ({key[:8]})": _variant(run, key, found)
        for (name, key), found in groups.items()
    }


def _variant(run: Run, key: str, records: Sequence[Record]) -> VariantFacts:
    by_stage = {metric: [r for r in records if r.stage == stage] for metric, stage in METRICS.items()}
    failed = {metric: why for metric, found in by_stage.items() if (why := _failure(found))}
    makers = {"costs": _costs, "latency": _latency, "memory": _memory, "top1": _accuracy}
    found: dict[str, Any] = {}
    for metric, make in makers.items():
        done = [record for record in by_stage[metric] if record.status == "done"]
        if done and metric not in failed:
            try:
                found[metric] = make(run, done)
            except ValueError as error:  # pydantic's too: the record's figures are none that were ever measured
                raise FailedError(f"{_where(run, done[-1])}: {_first(error)}") from error
    notes = [note for metric in ("latency", "memory") for record in by_stage[metric] for note in record.notes]
    return VariantFacts(hash=key, failed=failed, notes=tuple(dict.fromkeys(notes)), **found)


def _where(run: Run, record: Record) -> str:
    return f"run {run.id}, {record.stage} of {record.variant.architecture}/{record.label} is damaged"


def _first(error: ValueError) -> str:
    """The first thing that is wrong, in a line."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)


def _failure(records: Sequence[Record]) -> str:
    """Why a stage of a variant did not come off, if any of its work did not in the end."""
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
    """Nothing of the plain network itself: it is what the others are held against."""
    found = done[-1].measurements
    floors = {m.context.get("batch_size"): _workers(m) for m in found if m.name == "latency_floor"}
    ratios = tuple(
        Ratio(
            batch=m.context["batch_size"],
            conditions=conditions.of_machine(run.machine, {k: v for k, v in m.context.items() if k != "batch_size"}),
            workers=_workers(m),
            floor=floors.get(m.context["batch_size"], ()),
        )
        for m in found
        if m.name == "latency_ratio"
    )
    return Latency(run=run.id, ratios=ratios) if ratios else None


def _workers(measurement: Measurement) -> tuple[float, ...]:
    """Of a measurement in one process only its value: one worker."""
    found = measurement.context.get("worker_log_ratios") or [math.log(measurement.value)]
    return tuple(round(value, DIGITS) for value in found)


def _memory(run: Run, done: Sequence[Record]) -> Memory | None:
    peaks = tuple(_peaks(run, done[-1]))
    return Memory(run=run.id, peaks=peaks) if peaks else None


def _peaks(run: Run, record: Record) -> Iterator[Peak]:
    for m in record.measurements:
        if m.name == "peak_memory" and m.value > 0:
            about = conditions.of_machine(run.machine, m.context)
            yield Peak(part=m.part or "host", conditions=about, bytes=m.value, samples=m.samples)


def _accuracy(run: Run, done: Sequence[Record]) -> Accuracy:
    latest = {record.seed: record for record in done}
    first = done[0]
    return Accuracy(
        run=run.id,
        conditions=conditions.of_answers(first),
        training={} if "eval_weights" in first.settings else conditions.of_training(first),
        seeds=tuple(_seed(latest[seed]) for seed in sorted(latest, key=lambda seed: (seed is not None, seed or 0))),
    )


def _seed(record: Record) -> Seed:
    top1 = next((m.value for m in record.measurements if m.name == "top1" and not m.part), None)
    if top1 is None:
        raise ValueError("top1: got nothing; expected a fraction of the test images")
    packed = base64.b64encode(pack(rank == 0 for rank in record.ranks)).decode()
    return Seed(seed=record.seed, top1=round(top1, DIGITS), images=len(record.ranks), correct=packed)


def pack(bits: Iterable[bool]) -> bytes:
    """Eight bits a byte, the first one highest; the last byte is filled up with zeros.

    >>> pack([True, False, False, False, False, False, False, True, True]).hex()
    '8180'
    """
    text = "".join("1" if bit else "0" for bit in bits)
    size = -(-len(text) // 8)
    return int(text.ljust(8 * size, "0") or "0", 2).to_bytes(size, "big")
