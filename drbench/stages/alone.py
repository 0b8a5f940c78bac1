"""Runs the work of one variant in a worker; if memory runs out, again with half the batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from drbench.errors import DataError
from drbench.executor import Ended
from drbench.job import Job
from drbench.records import Event, Experiment, Record
from drbench.stages.stage import WorkContext


class BatchSize(NamedTuple):
    """How to read and change the batch size of an experiment.

    caveat: what else a smaller batch size changes, for the note; may be empty.
    """

    size: Callable[[Experiment], int]
    changed: Callable[[Experiment, int], Experiment]
    caveat: Callable[[Experiment], str] = lambda experiment: ""


def measure(
    function: str, experiment: Experiment, context: WorkContext, batch: BatchSize | None = None
) -> Iterator[Record]:
    """Call `function(experiment, workdir)`, which returns a Result, in a worker; yield the Record of the one variant.

    If memory runs out and `batch` is given, the call is repeated with half the batch size. The work keeps its key.
    """
    job = Job(experiment, experiment.variants[0], experiment.labels[0])
    requested = size = batch.size(experiment) if batch else 1
    workdir = context.workdir
    while True:
        ended = context.executor.run(function, experiment, workdir, limits=context.limits, on_event=context.on_event)
        if batch is None or ended.status != "oom" or size == 1:
            break
        note = f"{job.label}: out of memory at batch size {size}; trying {size // 2}"
        size //= 2
        experiment = batch.changed(experiment, size)
        workdir = context.workdir / f"batch-{size}"  # a checkpoint is valid only for its settings
        context.on_event(Event("note", note))
    if ended.status != "done":
        yield failed(job, ended, context)
        return
    notes = [f"batch size {size} instead of {requested}: out of memory"] if size != requested else []
    if notes and batch and (caveat := batch.caveat(experiment)):
        notes = [f"{notes[0]}; {caveat}"]
    yield job.record(ended.value, done_as=experiment, machine=ended.machine, notes=notes)


def failed(job: Job, ended: Ended, context: WorkContext) -> Record:
    """The Record of a failed variant. A full disk and unusable data are no failures of a variant and are raised."""
    if isinstance(ended.error, OSError | DataError):
        raise ended.error
    return job.failed(ended.status, ended.reason, ended.traceback, context.workdir, machine=ended.machine)
