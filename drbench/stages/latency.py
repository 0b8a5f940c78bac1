"""Stage `latency`: inference time, all networks of an architecture in turns with the plain one."""

from __future__ import annotations

from collections.abc import Iterator

from drbench.identity import is_plain, variant_hash
from drbench.records import Experiment, Record
from drbench.stages.stage import Asked, Stage, WorkContext


def plan(asked: Asked) -> Iterator[Experiment]:
    """An architecture's networks together, and with them the plain network, even where it belongs to another shard."""
    for group in asked.groups.values():
        if any(variant_hash(variant) in asked.ours for variant, _ in group):
            timed = [row for row in group if variant_hash(row[0]) in asked.ours or is_plain(row[0])]
            variants, labels = zip(*timed, strict=True)
            yield Experiment("latency", variants, latency=asked.latency, labels=labels)


def measure(one: Experiment, context: WorkContext) -> Iterator[Record]:
    """Time them, block by block in workers (see drbench.latency.schedule)."""
    from drbench.latency import schedule

    return schedule.measure(
        one, context.executor, context.limits, workdir=context.workdir, skip=context.skip, on_event=context.on_event
    )


def line(record: Record) -> str:
    """1.23 ms at batch 1, 8.90 ms at batch 8"""
    times = [m for m in record.measurements if m.name == "latency"]
    return ", ".join(f"{1e3 * m.value:.2f} ms at batch {m.context['batch_size']}" for m in times)


LATENCY = Stage(plan, measure, line)
