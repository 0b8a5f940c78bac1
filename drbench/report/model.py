"""What a report is made of, before it is rendered: tables of rows of raw figures, in the units of the records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drbench.figures import CLASSIFY, TaskFigures

if TYPE_CHECKING:
    from drbench.report.ops import OpsTable

Value = float | int | str | bool | None
KINDS = ("plain", "converted", "matched", "published")
"""A network as published, one with replaced convolutions, a plain one widened to equal cost, others' figures."""


@dataclass(frozen=True)
class Row:
    """One variant in one table. `values` are keyed by field name (see `columns.FIELDS`); what is missing is absent."""

    kind: str
    architecture: str
    label: str
    values: Mapping[str, Value]


@dataclass(frozen=True)
class Conditions:
    """What all rows of one table have in common; rows that differ in any of it never share a table.

    `older_protocol`: the protocols (drbench.protocols) of the figures, where they are not those of this drbench.
    """

    suite: str
    data: str
    synthetic: bool
    training: str
    input_shape: str
    num_classes: int
    machine: str
    drbench: str
    task: TaskFigures = CLASSIFY
    older_protocol: str = ""


@dataclass(frozen=True)
class Latency:
    """One way in which latency was taken in a table: a set of columns whose names end in `suffix`."""

    suffix: str
    batch_size: int | None
    threads: int | None
    dtype: str
    device: str
    channels_last: bool = True

    @property
    def format(self) -> str:
        """The memory format's name, where it is not the usual one."""
        return "" if self.channels_last else "contiguous"


@dataclass(frozen=True)
class Table:
    """Comparable rows, the plain one of each architecture first. `notes` are lines for below the table."""

    conditions: Conditions
    rows: tuple[Row, ...]
    latencies: tuple[Latency, ...] = ()
    matches: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """Tables of our figures, published ones beside our counts at their input size, and the operator benchmark's."""

    tables: tuple[Table, ...]
    published: tuple[Row, ...] = field(default=())
    ops: tuple[OpsTable, ...] = field(default=())
