"""A suite under way: stage by stage, each piece of work in a worker -> Records; what is done is skipped.

All that builds a network happens in a worker (see drbench.workers): this process has no torch and survives them all.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from drbench.errors import DataError, FailedError
from drbench.identity import experiment_key, variant_hash
from drbench.job import Job
from drbench.latency import schedule
from drbench.published import Published, published
from drbench.records import STAGES, Event, Experiment, Record, Variant
from drbench.run.session import Counts
from drbench.suite.plan import variants
from drbench.suite.tables import Suite
from drbench.workers import Ended, Limits, Workers
from drbench.workers.watch import free

OnEvent = Callable[[Event], None]
FREE_SHARE = 0.9
"""Of the memory that is free: what a worker may hold unless the suite says otherwise."""


def limits_of(suite: Suite) -> Limits:
    """Of each worker: what the suite says, else nine tenths of the memory that is free now, and any time."""
    given = suite.limits.memory_gib
    memory = int(FREE_SHARE * free()) if given is None else int(given * 2**30)
    return Limits(suite.limits.timeout_seconds, memory)


def value_of(ended: Ended, what: str) -> Any:
    """What a worker gave that has no variant to be charged with its failure: that is raised here."""
    if ended.status == "done":
        return ended.value
    if ended.error is not None:
        raise ended.error
    if ended.status != "failed":
        raise FailedError(f"{what} failed: {ended.status}: {ended.reason}")
    error = RuntimeError(f"{what} failed: {ended.reason}")
    error.add_note(ended.traceback)
    raise error


def references(suite: Suite) -> tuple[Published, ...]:
    """The published rows that the suite wants to see beside its own: globs over architecture/operator."""
    names = {table.name for table in suite.architectures}
    return tuple(
        row
        for row in published()
        if row.model in names and any(fnmatchcase(f"{row.model}/{row.operator}", glob) for glob in suite.references)
    )


@dataclass(frozen=True)
class Going:
    """A suite under way: what all of its work shares. `done`, `lost`: the keys of work that is not done again."""

    suite: Suite
    files: Path
    workers: Workers
    done: Set[str]
    lost: Set[str]
    counts: Counts
    on_event: OnEvent

    def records(self, work: Sequence[Experiment]) -> Iterator[Record]:
        """Stage by stage. Widths of matched networks are found first: they are part of what a variant is."""
        widths = yield from self._widths(work)
        work = [one for one in (_with_widths(one, widths) for one in work) if one.variants]
        self._build_kernels(work)
        for stage in STAGES:
            todo = [one for one in work if one.stage == stage]
            if not todo:
                continue
            self.on_event(Event("stage", stage, 0, len(todo)))
            made: list[Record] = []
            for number, one in enumerate(todo):
                if not self._left(one, count=True):
                    continue
                self.on_event(Event("stage", stage, number, len(todo), payload=one))
                for record in self._measured(one):
                    made.append(record)
                    yield record
            self.on_event(Event("stage", stage, len(todo), len(todo)))
            if stage == "cost":
                self.on_event(Event("table", stage, payload=(tuple(made), references(self.suite))))

    def _left(self, one: Experiment, count: bool = False) -> bool:
        """Whether there is something to do; with `count`, what there is not is counted."""
        keys = [experiment_key(one, variant) for variant in one.variants]
        if count:
            self.counts.skipped += sum(key in self.done for key in keys)
            self.counts.lost += sum(key in self.lost for key in keys)
        return any(key not in self.done | self.lost for key in keys)

    def _measured(self, one: Experiment) -> Iterator[Record]:
        workdir = _workdir(self.files, one)
        if one.stage == "latency":
            limits = limits_of(self.suite)
            yield from schedule.measure(
                one, self.workers, limits, workdir=workdir, skip=self.done | self.lost, on_event=self.on_event
            )
            return
        yield self._in_a_worker(one, workdir)

    def _in_a_worker(self, one: Experiment, workdir: Path) -> Record:
        """The record of one variant; where memory runs out, with half of the batch, and again."""
        job = Job(one, one.variants[0], one.labels[0])
        size = _batch_size(one)
        while True:
            batch = _batch_size(one)
            place = workdir if batch == size else workdir / f"batch-{batch}"  # checkpoints of other settings are others
            ended = self.workers.run(
                "drbench.experiment:run", one, place, limits=limits_of(self.suite), on_event=self.on_event
            )
            if ended.status != "oom" or batch is None or batch == 1:
                break
            one = _with_batch_size(one, batch // 2)
            self.on_event(Event("note", f"{job.label}: out of memory at batch size {batch}, again at {batch // 2}"))
        if ended.status == "done":
            notes = () if batch == size else (_smaller(one, batch, size),)
            made: Record = ended.value
            return replace(made, key=job.key, started=job.started, notes=(*made.notes, *notes))
        return self._failed(job, ended, workdir)

    def _failed(self, job: Job, ended: Ended, workdir: Path) -> Record:
        """The failure of a variant. A full disk and unusable data are not the variant's fault: those are raised."""
        if isinstance(ended.error, OSError | DataError):
            raise ended.error
        return job.failed(ended.status, ended.reason, ended.traceback, workdir)

    def _widths(self, work: Sequence[Experiment]) -> Generator[Record, None, dict[str, Variant | None]]:
        """Matched networks by hash, with the width that was found; None, and a failed Record, where none was."""
        found: dict[str, Variant | None] = {}
        targets = {variant_hash(variant): variant for rows in variants(self.suite).values() for variant, _ in rows}
        for one in work:
            for variant, label in zip(one.variants, one.labels, strict=True):
                name = variant_hash(variant)
                if variant.match is None or variant.matched_to is None or name in found:
                    continue
                job = Job(replace(one, seed=None), variant, label)
                if job.key in self.lost:
                    found[name] = None
                    self.counts.lost += 1
                    continue
                self.on_event(Event("note", f"{variant.architecture}: finding the width of {label}"))
                ended = self.workers.run(
                    "drbench.experiment:resolve", variant, targets[variant.matched_to], limits=limits_of(self.suite)
                )
                found[name] = ended.value if ended.status == "done" else None
                if ended.status != "done":
                    yield self._failed(job, ended, self.files / name)
        return found

    def _build_kernels(self, work: Sequence[Experiment]) -> None:
        """Before anything is timed or trained, and only for what is not done yet."""
        todo = [one for one in work if one.stage != "cost" and self._left(one)]
        if todo:
            ended = self.workers.run("drbench.experiment:build_kernels", todo, on_event=self.on_event)
            value_of(ended, "building the kernels")


def _batch_size(one: Experiment) -> int | None:
    """What can be halved where memory runs out."""
    if one.stage == "train" and one.train is not None:
        return one.train.batch_size
    return max(one.latency.batch_sizes) if one.stage == "memory" and one.latency is not None else None


def _with_batch_size(one: Experiment, size: int) -> Experiment:
    if one.train is not None:
        return replace(one, train=replace(one.train, batch_size=size))
    assert one.latency is not None
    return replace(one, latency=replace(one.latency, batch_sizes=(size,)))


def _smaller(one: Experiment, batch: int | None, size: int | None) -> str:
    text = f"batch size {batch} instead of {size}: out of memory"
    trained = one.stage == "train" and one.eval_weights is None
    return f"{text}; the learning rate is as before, so it is another training" if trained else text


def _with_widths(one: Experiment, widths: Mapping[str, Variant | None]) -> Experiment:
    """The experiment on the networks whose widths were found; without those whose were not."""
    rows = [(widths.get(variant_hash(v), v), label) for v, label in zip(one.variants, one.labels, strict=True)]
    kept = [(variant, label) for variant, label in rows if variant is not None]
    return replace(one, variants=tuple(v for v, _ in kept), labels=tuple(label for _, label in kept))


def _workdir(files: Path, one: Experiment) -> Path:
    name = variant_hash(one.variants[0])
    return files / (name if one.seed is None else f"{name}-s{one.seed}")
