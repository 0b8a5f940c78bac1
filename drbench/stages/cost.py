"""Stage `cost`: multiply-adds and parameters of each network."""

from __future__ import annotations

from collections.abc import Iterator

from drbench.records import Experiment, Record
from drbench.stages import alone
from drbench.stages.stage import Request, Stage, WorkContext


def plan(request: Request) -> Iterator[Experiment]:
    """One Experiment per network."""
    for variant, label in request.rows:
        yield Experiment("cost", (variant,), labels=(label,))


def measure(experiment: Experiment, context: WorkContext) -> Iterator[Record]:
    """Count the cost in a worker."""
    return alone.measure("drbench.experiment:count_cost", experiment, context)


def line(record: Record) -> str:
    """Such as "12.34 M multiply-adds, 5.67 M parameters"."""
    values = {m.name: m.value for m in record.measurements if not m.part}
    name, kind = "madds", "multiply-adds"
    if name not in values:
        name, kind = "executed", "executed multiply-adds (convention not declared)"
    return f"{values[name] / 1e6:.2f} M {kind}, {values['params'] / 1e6:.2f} M parameters"


COST = Stage(plan, measure, line, with_table=True)
