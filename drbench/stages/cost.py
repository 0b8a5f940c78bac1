"""Stage `cost`: multiply-adds and parameters of each network."""

from __future__ import annotations

from collections.abc import Iterator

from drbench.records import Experiment, Record
from drbench.stages import alone
from drbench.stages.stage import Asked, Stage, WorkContext


def plan(asked: Asked) -> Iterator[Experiment]:
    """Each network by itself."""
    for variant, label in asked.rows:
        yield Experiment("cost", (variant,), labels=(label,))


def measure(one: Experiment, context: WorkContext) -> Iterator[Record]:
    """Count in a worker."""
    return alone.measure("drbench.experiment:count_cost", one, context)


def line(record: Record) -> str:
    """12.34 M multiply-adds, 5.67 M parameters"""
    found = {m.name: m.value for m in record.measurements if not m.part}
    name, kind = "madds", "multiply-adds"
    if name not in found:
        name, kind = "executed", "executed multiply-adds (convention not declared)"
    return f"{found[name] / 1e6:.2f} M {kind}, {found['params'] / 1e6:.2f} M parameters"


COST = Stage(plan, measure, line, with_table=True)
