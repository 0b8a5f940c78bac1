"""The text around tables: conditions of the rows, meaning of the columns, and warnings."""

from __future__ import annotations

import json
from collections.abc import Sequence

from drbench.catalog import OUTPUTS
from drbench.figures import CLASSIFY
from drbench.published import DEVIATION_LIMIT
from drbench.report.columns import Column
from drbench.report.model import Report, Row, Table

SYNTHETIC = "{data} is synthetic: no evidence for any operator"
PUBLISHED = (
    "published figures, marked as such, and ours: the same network counted by drbench at 224 px and 1000 "
    f"classes; ! is a deviation over {DEVIATION_LIMIT:.0%} (see docs/published.md)"
)
_SHOWN = ("preset", "epochs")


def title(table: Table, tables: Sequence[Table]) -> list[str]:
    """Lines above a table: suite, data, training, machine, and settings that differ between tables of a suite."""
    c = table.conditions
    data = f"data {c.data}{' (synthetic)' if c.synthetic else ''}, " if c.data else ""
    task = "" if c.task == CLASSIFY else f"task {c.task.task}, "
    outputs = f"embedding of {c.num_classes} numbers" if c.task.task in OUTPUTS else f"{c.num_classes} classes"
    lines = [f"suite {c.suite}: {task}{data}input {c.input_shape}, {outputs}"]
    training = json.loads(c.training) if c.training else {}
    if training:
        epochs = f", {training['epochs']} epochs" if "epochs" in training else ""
        lines.append(f"training: preset {training.get('preset')}{epochs}{_differing(table, tables, training)}")
    older = f" (older protocol: {c.older_protocol})" if c.older_protocol else ""
    lines.append(f"machine: {c.machine}; drbench {c.drbench}{older}")
    return lines


def _differing(table: Table, tables: Sequence[Table], training: dict[str, object]) -> str:
    """The settings that differ between tables which would otherwise have the same title."""
    c = table.conditions
    others = [
        json.loads(other.conditions.training)
        for other in tables
        if other is not table
        and other.conditions.training
        and (other.conditions.suite, other.conditions.data) == (c.suite, c.data)
    ]
    keys = sorted({key for other in [training, *others] for key in other} - set(_SHOWN))
    shown = [
        f"{key} {training.get(key)}" for key in keys if any(other.get(key) != training.get(key) for other in others)
    ]
    return "".join(f", {text}" for text in shown)


def notes(table: Table) -> list[str]:
    """Lines below a table: a warning for synthetic data, and failures with their reasons."""
    c = table.conditions
    warning = [SYNTHETIC.format(data=c.data) + "."] if c.synthetic else []
    return [*warning, *table.notes]


def caption(report: Report, columns: Sequence[Column]) -> list[str]:
    """The meaning of each column, once; the settings of latency, and the number of samples."""
    lines = list(dict.fromkeys(column.meaning for column in columns if column.meaning))
    if any(column.topic == "latency" for column in columns):
        lines += _latency(report.tables)
    return [f"{line}." for line in lines]


def _latency(tables: Sequence[Table]) -> list[str]:
    ways = {(way.threads, way.dtype, way.device, way.format) for table in tables for way in table.latencies}
    counts = [
        value
        for table in tables
        for row in table.rows
        for name, value in row.values.items()
        if name.startswith("latency_") and name.endswith("_samples") and isinstance(value, int) and value
    ]
    if not ways:
        return []
    settings = "; ".join(_way(*way) for way in sorted(ways, key=str))
    samples = ""
    if counts:
        fewest, most = min(counts), max(counts)
        samples = f", {fewest} to {most} samples each" if fewest < most else f", {most} samples each"
    return [f"latency taken with {settings}{samples}"]


def _way(threads: int | None, dtype: str, device: str, format: str) -> str:
    """Such as "2 threads, float32, cpu, contiguous"."""
    counted = f"{threads} thread{'' if threads == 1 else 's'}" if threads else ""
    return ", ".join(part for part in (counted, dtype, device, format) if part)


def source_numbers(rows: Sequence[Row]) -> dict[str, int]:
    """Source -> number of the sources of published rows, in order of appearance."""
    distinct = dict.fromkeys(str(row.values["source"]) for row in rows)
    return {source: number for number, source in enumerate(distinct, 1)}


def sources(rows: Sequence[Row]) -> list[str]:
    """The numbered sources, with their notes."""
    lines = []
    for source, number in source_numbers(rows).items():
        remarks = dict.fromkeys(
            str(row.values["note"]) for row in rows if row.values["source"] == source and "note" in row.values
        )
        lines.append(f"[{number}] {source}" + "".join(f"; {remark}" for remark in remarks))
    return lines
