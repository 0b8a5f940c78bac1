"""What a suite's TOML file may contain: one class for each table; a wrong type or a misspelt key is an error.

The tables of settings are derived from the records of the same name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, create_model

from drbench import bounds
from drbench.figures import DEFAULT
from drbench.records import DataSettings, LatencySettings, TrainSettings
from drbench.variant_table import Arguments, Classes, InputShape, Name, Side, Width

Stage = Literal["cost", "memory", "latency", "train"]
Text = Annotated[str, StringConstraints(max_length=bounds.TEXT)]
Regions = Annotated[int, Field(gt=0, le=bounds.REGIONS)]
Seconds = Annotated[float, Field(gt=0, le=bounds.SECONDS, allow_inf_nan=False)]
Part = Annotated[int, Field(gt=0, le=bounds.SHARDS)]


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


class StrictTable(BaseModel):
    """Strict: a wrong type or an unknown key is an error that says where."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ArchitectureTable(StrictTable):
    """One network: a registry name or package.module:callable, its width and further arguments."""

    name: Name
    width: Width | None = None
    args: Arguments = {}


class OperatorTable(StrictTable):
    """What replaces which convolutions. `regions`: the short form of operator_args.regions, and what --regions sets."""

    operator: Name
    regions: Annotated[tuple[Regions, ...], BeforeValidator(_listed), Field(min_length=1)] | None = None
    operator_args: Arguments = {}
    where: Annotated[tuple[Name, ...], BeforeValidator(_listed), Field(min_length=1)] = ("last-pointwise",)
    where_args: Arguments = {}
    init: Literal["fresh", "preserve"] = "fresh"
    label: Name | None = None
    match: Annotated[tuple[Literal["madds", "params"], ...], BeforeValidator(_listed)] | None = None


def table_of(record: type[Any], *, partial: bool = False, leave_out: Collection[str] = ()) -> type[StrictTable]:
    """The table with the fields of a settings record: its types, limits and defaults (see drbench.records).

    partial: every field may be left out, and is None then.
    leave_out: fields that the table does not have.
    """
    hints = get_type_hints(record)
    columns: dict[str, Any] = {}
    for one in fields(record):
        if one.name in leave_out:
            continue
        kind = _kind(hints[one.name], one.metadata)
        if partial:
            columns[one.name] = (kind | None, None)
        elif one.default_factory is not MISSING:
            columns[one.name] = (kind, Field(default_factory=one.default_factory))
        else:
            columns[one.name] = (kind, one.default)
    name = record.__name__.replace("Settings", "Table")
    return create_model(name, __base__=StrictTable, __module__=__name__, **columns)


def _kind(hint: Any, limits: Mapping[str, Any]) -> Any:
    """The type of a table's field."""
    if hint == Mapping[str, Any]:
        return Arguments
    if get_origin(hint) is not tuple:
        return Annotated[hint, Field(**limits)]
    length = {key: value for key, value in limits.items() if key in ("min_length", "max_length")}
    of_item = {key: value for key, value in limits.items() if key not in length}
    items = GenericAlias(tuple, (_kind(get_args(hint)[0], of_item), ...))
    return Annotated[items, BeforeValidator(_listed), Field(**length)]


if TYPE_CHECKING:  # mypy does not take the result of a call for a type
    DataTable = StrictTable
    TrainTable = StrictTable
    LatencyTable = StrictTable
else:
    DataTable = table_of(DataSettings)
    TrainTable = table_of(TrainSettings, partial=True, leave_out=("preset",))  # over the values of the preset
    LatencyTable = table_of(LatencySettings)


class LimitsTable(StrictTable):
    """Of each worker process: wall time (none: as long as it takes), and memory of it and its children in GiB (none:
    nine tenths of what the machine has free)."""

    timeout_seconds: Seconds | None = None
    memory_gib: Annotated[float, Field(gt=0, le=bounds.MEMORY_GIB, allow_inf_nan=False)] | None = None


Metric = Annotated[str, StringConstraints(min_length=1, max_length=bounds.NAME)]
"""Costs, latency, memory, or a figure that the suite's task declares."""
OnUnresolved = Literal["warn", "fail"]


class ThresholdTable(StrictTable):
    """How much worse a metric may become for the variants that a glob over architecture/label names.

    `limit`: a share of the reference (0.02 is 2%) for costs, latency and memory; of a task's figure a difference in its
    unit (of top1, 0.005 is half a point). The last row that fits counts.
    """

    metric: Metric
    variants: str = "*"
    limit: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    on_unresolved: OnUnresolved | None = None


class CheckTable(StrictTable):
    """What `drbench check` looks at, and how much worse it may be."""

    metrics: Annotated[tuple[Metric, ...], BeforeValidator(_listed), Field(min_length=1)] = ("costs",)
    on_unresolved: OnUnresolved = "warn"
    thresholds: tuple[ThresholdTable, ...] = ()


class Suite(StrictTable):
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
