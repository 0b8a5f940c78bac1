"""Stage `memory`: peak memory of inference at the largest batch size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from drbench.records import Experiment, LatencySettings, Record
from drbench.stages import alone
from drbench.stages.stage import Request, Stage, WorkContext


def plan(request: Request) -> Iterator[Experiment]:
    """One Experiment per network."""
    settings = of_memory(request.latency)
    for variant, label in request.rows:
        yield Experiment("memory", (variant,), latency=settings, labels=(label,))


def of_memory(settings: LatencySettings) -> LatencySettings:
    """The settings without those that memory does not depend on: one batch size, the largest; defaults for timing."""
    defaults = LatencySettings()
    return replace(
        settings,
        batch_sizes=(max(settings.batch_sizes),),
        workers=defaults.workers,
        warmup_runs=defaults.warmup_runs,
        min_runs=defaults.min_runs,
        min_seconds=defaults.min_seconds,
        max_seconds=defaults.max_seconds,
    )


def measure(experiment: Experiment, context: WorkContext) -> Iterator[Record]:
    """Run inference in a worker; if memory runs out, again with half the batch size."""
    return alone.measure("drbench.experiment:measure_memory", experiment, context, alone.BatchSize(_size, _changed))


def line(record: Record) -> str:
    """Such as "12.3 MiB of the host's memory at batch 8"."""
    parts = [(m.part, m.value) for m in record.measurements if m.name == "peak_memory"]
    amounts = ", ".join(f"{value / 2**20:.1f} MiB of the {part}'s memory" for part, value in parts)
    return f"{amounts} at batch {record.measurements[0].context['batch_size']}"


def _size(experiment: Experiment) -> int:
    return max(_settings(experiment).batch_sizes)


def _changed(experiment: Experiment, size: int) -> Experiment:
    return replace(experiment, latency=replace(_settings(experiment), batch_sizes=(size,)))


def _settings(experiment: Experiment) -> LatencySettings:
    return experiment.latency or LatencySettings()


MEMORY = Stage(plan, measure, line)
