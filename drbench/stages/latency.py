"""Stage `latency`: inference time; all networks of an architecture are timed in turns with the plain network."""

from __future__ import annotations

from collections.abc import Iterator

from drbench.identity import is_plain, variant_hash
from drbench.records import Experiment, Record
from drbench.stages.stage import Request, Stage, WorkContext


def plan(request: Request) -> Iterator[Experiment]:
    """One Experiment per architecture. It includes the plain network even if that belongs to another shard."""
    for group in request.groups.values():
        if any(variant_hash(variant) in request.in_shard for variant, _ in group):
            timed = [row for row in group if variant_hash(row[0]) in request.in_shard or is_plain(row[0])]
            variants, labels = zip(*timed, strict=True)
            yield Experiment("latency", variants, latency=request.latency, labels=labels)


def measure(experiment: Experiment, context: WorkContext) -> Iterator[Record]:
    """Time the networks, one block per worker (see drbench.latency.schedule)."""
    from drbench.latency import schedule

    return schedule.measure(
        experiment,
        context.executor,
        context.limits,
        workdir=context.workdir,
        skip=context.skip,
        on_event=context.on_event,
    )


def line(record: Record) -> str:
    """Such as "1.23 ms at batch 1, 8.90 ms at batch 8"."""
    times = [m for m in record.measurements if m.name == "latency"]
    return ", ".join(f"{1e3 * m.value:.2f} ms at batch {m.context['batch_size']}" for m in times)


LATENCY = Stage(plan, measure, line)
