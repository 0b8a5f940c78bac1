"""Work of one variant in a process of its own; where memory runs out, again with half of the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from drbench.errors import DataError
from drbench.executor import Ended
from drbench.job import Job
from drbench.records import Event, Experiment, Record
from drbench.stages.stage import WorkContext


class BatchSize(NamedTuple):
    """The batch size of an experiment: how to read and to change it, and what a smaller one changes besides."""

    size: Callable[[Experiment], int]
    changed: Callable[[Experiment, int], Experiment]
    caveat: Callable[[Experiment], str] = lambda experiment: ""


def measure(function: str, one: Experiment, context: WorkContext, batch: BatchSize | None = None) -> Iterator[Record]:
    """Call `function(experiment, workdir)`, which returns a Result, in a worker: the Record of the one variant.

    Where memory runs out and `batch` says how, it is called again with half of the batch size. The work keeps its key.
    """
    job = Job(one, one.variants[0], one.labels[0])
    asked = size = batch.size(one) if batch else 1
    workdir = context.workdir
    while True:
        ended = context.executor.run(function, one, workdir, limits=context.limits, on_event=context.on_event)
        if batch is None or ended.status != "oom" or size == 1:
            break
        note = f"{job.label}: out of memory at batch size {size}, again at {size // 2}"
        size //= 2
        one, workdir = batch.changed(one, size), context.workdir / f"batch-{size}"  # other settings, other checkpoints
        context.on_event(Event("note", note))
    if ended.status != "done":
        yield failed(job, ended, context)
        return
    notes = [f"batch size {size} instead of {asked}: out of memory"] if size != asked else []
    if notes and batch and (caveat := batch.caveat(one)):
        notes = [f"{notes[0]}; {caveat}"]
    yield job.record(ended.value, done_as=one, machine=ended.machine, notes=notes)


def failed(job: Job, ended: Ended, context: WorkContext) -> Record:
    """The failure of a variant. A full disk and unusable data are not the variant's fault: those are raised."""
    if isinstance(ended.error, OSError | DataError):
        raise ended.error
    return job.failed(ended.status, ended.reason, ended.traceback, context.workdir, machine=ended.machine)
