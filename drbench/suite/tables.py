"""What a suite's TOML file may say: one class a table, strict, so that a wrong type or a misspelt key is an error."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from drbench import bounds
from drbench.figures import DEFAULT
from drbench.variant_table import Arguments, Classes, InputShape, Name, Side, Width

Stage = Literal["cost", "memory", "latency", "train"]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Text = Annotated[str, StringConstraints(max_length=bounds.TEXT)]
BatchSize = Annotated[int, Field(gt=0, le=bounds.BATCH_SIZE)]
Regions = Annotated[int, Field(gt=0, le=bounds.REGIONS)]
Epochs = Annotated[int, Field(gt=0, le=bounds.EPOCHS)]
Threads = Annotated[int, Field(gt=0, le=bounds.THREADS)]
Runs = Annotated[int, Field(ge=0, le=bounds.RUNS)]
Seconds = Annotated[float, Field(gt=0, le=bounds.SECONDS, allow_inf_nan=False)]
Part = Annotated[int, Field(gt=0, le=bounds.SHARDS)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _listed(value: object) -> object:
    """One where a list is wanted is a list of one. (A tuple: pydantic's strict mode wants one after this.)"""
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, (str, int)) and not isinstance(value, bool) else value


def _named(value: object) -> object:
    """An architecture may be its bare name."""
    if isinstance(value, list):
        return tuple({"name": item} if isinstance(item, str) else item for item in value)
    return value


class Table(BaseModel):
    """Strict: a wrong type or an unknown key is an error that says where."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ArchitectureTable(Table):
    """One network: a registry name or package.module:callable, its width and further arguments."""

    name: Name
    width: Width | None = None
    args: Arguments = {}


class OperatorTable(Table):
    """What replaces which convolutions. `regions`: the short form of operator_args.regions, and what --regions sets."""

    operator: Name
    regions: Annotated[tuple[Regions, ...], BeforeValidator(_listed), Field(min_length=1)] | None = None
    operator_args: Arguments = {}
    where: Annotated[tuple[Name, ...], BeforeValidator(_listed), Field(min_length=1)] = ("last-pointwise",)
    where_args: Arguments = {}
    init: Literal["fresh", "preserve"] = "fresh"
    label: Name | None = None
    match: Annotated[tuple[Literal["madds", "params"], ...], BeforeValidator(_listed)] | None = None


class DataTable(Table):
    """As records.DataSettings."""

    name: Name = "shapes"
    root: str | None = None
    download: bool = False
    val_fraction: Fraction = 0.1
    args: Arguments = {}


class TrainTable(Table):
    """Any of records.TrainSettings but the preset, over the preset's values."""

    epochs: Epochs | None = None
    batch_size: BatchSize | None = None
    optimizer: Literal["sgd", "adamw"] | None = None
    learning_rate: PositiveFloat | None = None
    momentum: Fraction | None = None
    weight_decay: NonNegativeFloat | None = None
    nesterov: bool | None = None
    schedule: Literal["cosine", "linear", "constant"] | None = None
    warmup_epochs: NonNegativeFloat | None = None
    label_smoothing: Fraction | None = None
    ema_decay: Fraction | None = None
    grad_clip: PositiveFloat | None = None
    augment: str | None = None
    device: str | None = None
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    threads: Threads | None = None
    loader_workers: Annotated[int, Field(ge=0, le=bounds.WORKERS)] | None = None


class LatencyTable(Table):
    """As records.LatencySettings."""

    batch_sizes: Annotated[tuple[BatchSize, ...], BeforeValidator(_listed), Field(min_length=1, max_length=100)] = (1,)
    workers: Annotated[int, Field(gt=0, le=bounds.WORKERS)] = 5
    warmup_runs: Runs = 5
    min_runs: Annotated[Runs, Field(gt=0)] = 12
    min_seconds: Annotated[float, Field(ge=0, le=bounds.SECONDS, allow_inf_nan=False)] = 0.2
    max_seconds: Seconds = 20.0
    threads: Threads | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = "auto"
    channels_last: bool = True


class LimitsTable(Table):
    """Of each worker process: wall time (none: as long as it takes), and memory of it and its children in GiB (none:
    nine tenths of what the machine has free)."""

    timeout_seconds: Seconds | None = None
    memory_gib: Annotated[float, Field(gt=0, le=bounds.MEMORY_GIB, allow_inf_nan=False)] | None = None


Metric = Annotated[str, StringConstraints(min_length=1, max_length=bounds.NAME)]
"""Costs, latency, memory, or a figure that the suite's task declares."""
OnUnresolved = Literal["warn", "fail"]


class ThresholdTable(Table):
    """How much worse a metric may become for the variants that a glob over architecture/label names.

    `limit`: a share of the reference (0.02 is 2%) for costs, latency and memory; of a task's figure a difference in its
    unit (of top1, 0.005 is half a point). The last row that fits counts.
    """

    metric: Metric
    variants: str = "*"
    limit: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    on_unresolved: OnUnresolved | None = None


class CheckTable(Table):
    """What `drbench check` looks at, and how much worse it may be."""

    metrics: Annotated[tuple[Metric, ...], BeforeValidator(_listed), Field(min_length=1)] = ("costs",)
    on_unresolved: OnUnresolved = "warn"
    thresholds: tuple[ThresholdTable, ...] = ()


class Suite(Table):
    """A comparison: which networks, what is measured, on which data, how they are trained."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=bounds.NAME, pattern=r"^[^/\s\x00-\x1f\x7f]+$")]
    description: Text = ""
    task: Name = DEFAULT
    stages: Annotated[tuple[Stage, ...], BeforeValidator(_listed), Field(min_length=1)] = (
        "cost",
        "memory",
        "latency",
        "train",
    )
    architectures: Annotated[tuple[ArchitectureTable, ...], BeforeValidator(_named), Field(min_length=1)]
    plain: bool = True
    operators: tuple[OperatorTable, ...] = ()
    match: Annotated[tuple[Literal["madds", "params"], ...], BeforeValidator(_listed)] = ()
    only: Annotated[tuple[Text, ...], BeforeValidator(_listed)] = ()
    exclude: Annotated[tuple[Text, ...], BeforeValidator(_listed)] = ()
    input_shape: InputShape | None = None
    num_classes: Classes | None = None
    stem_stride: Side | None = None
    data: DataTable = DataTable()
    preset: str = "quick"
    train: TrainTable = TrainTable()
    latency: LatencyTable = LatencyTable()
    limits: LimitsTable = LimitsTable()
    check: CheckTable = CheckTable()
    seeds: Annotated[int, Field(gt=0, le=bounds.SEEDS)] = 1
    eval_weights: str | None = None
    trust: Annotated[tuple[Name, ...], BeforeValidator(_listed)] | None = None
    shard: tuple[Part, Part] | None = None
    references: Annotated[tuple[Text, ...], BeforeValidator(_listed)] = ("*",)
