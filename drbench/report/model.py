"""The content of a report before rendering: tables with rows of raw figures, in the units of the records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drbench.figures import CLASSIFY, TaskFigures

if TYPE_CHECKING:
    from drbench.report.ops import OpsTable

Value = float | int | str | bool | None
KINDS = ("plain", "converted", "matched", "published")
"""A plain network, one with replaced convolutions, a plain one widened to equal cost, published figures."""


@dataclass(frozen=True)
class Row:
    """One variant in one table. `values`: field name -> value (see `data`), without missing values."""

    kind: str
    architecture: str
    label: str
    values: Mapping[str, Value]


@dataclass(frozen=True)
class Conditions:
    """The conditions of all rows of a table. Rows that differ in any of them are in different tables.

    `older_protocol`: the protocols of the figures (drbench.protocol_versions), if they differ from those of this
    drbench.
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
    """One set of latency settings in a table, with the columns whose names end in `suffix`."""

    suffix: str
    batch_size: int | None
    threads: int | None
    dtype: str
    device: str
    channels_last: bool = True

    @property
    def format(self) -> str:
        """The name of the memory format, or "" for the default one."""
        return "" if self.channels_last else "contiguous"


@dataclass(frozen=True)
class Table:
    """Comparable rows, the plain one of each architecture first. `notes`: lines below the table."""

    conditions: Conditions
    rows: tuple[Row, ...]
    latencies: tuple[Latency, ...] = ()
    matches: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """Tables of drbench's figures, published figures with counts at their input size, and the operator benchmark."""

    tables: tuple[Table, ...]
    published: tuple[Row, ...] = field(default=())
    ops: tuple[OpsTable, ...] = field(default=())
