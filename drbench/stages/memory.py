"""Stage `memory`: the most memory that inference holds, at the largest batch size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from drbench.records import Experiment, LatencySettings, Record
from drbench.stages import alone
from drbench.stages.stage import Asked, Stage, WorkContext


def plan(asked: Asked) -> Iterator[Experiment]:
    """Each network by itself."""
    settings = of_memory(asked.latency)
    for variant, label in asked.rows:
        yield Experiment("memory", (variant,), latency=settings, labels=(label,))


def of_memory(settings: LatencySettings) -> LatencySettings:
    """What of them the memory of inference depends on: the largest batch, and how it is computed."""
    bare = LatencySettings()
    return replace(
        settings,
        batch_sizes=(max(settings.batch_sizes),),
        workers=bare.workers,
        warmup_runs=bare.warmup_runs,
        min_runs=bare.min_runs,
        min_seconds=bare.min_seconds,
        max_seconds=bare.max_seconds,
    )


def measure(one: Experiment, context: WorkContext) -> Iterator[Record]:
    """Run inference in a worker; half of the batch where memory runs out."""
    return alone.measure("drbench.experiment:measure_memory", one, context, alone.BatchSize(_size, _changed))


def line(record: Record) -> str:
    """12.3 MiB of the host's memory at batch 8"""
    parts = [(m.part, m.value) for m in record.measurements if m.name == "peak_memory"]
    held = ", ".join(f"{value / 2**20:.1f} MiB of the {part}'s memory" for part, value in parts)
    return f"{held} at batch {record.measurements[0].context['batch_size']}"


def _size(one: Experiment) -> int:
    return max(_settings(one).batch_sizes)


def _changed(one: Experiment, size: int) -> Experiment:
    return replace(one, latency=replace(_settings(one), batch_sizes=(size,)))


def _settings(one: Experiment) -> LatencySettings:
    return one.latency or LatencySettings()


MEMORY = Stage(plan, measure, line)
