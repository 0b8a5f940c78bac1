"""Experiments -> Records in the store, one after the other; what is done is skipped, what fails is recorded."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from drbench.errors import InputError
from drbench.identity import experiment_key, variant_hash
from drbench.jobs import Job
from drbench.published import Published, published
from drbench.records import STAGES, Event, Experiment, Record, Run, Variant
from drbench.suite import Suite, plan, to_toml, variants

if TYPE_CHECKING:
    from drbench_db import Store

OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Outcome:
    """What became of a run. `status`: "done", "failed" (some variant did) or "interrupted"."""

    run_id: str
    status: str
    done: int = 0
    failed: int = 0
    skipped: int = 0


def new_run_id(suite: str) -> str:
    """Short, sortable, readable, unique: 20261123-1405-mobilenet-ab12 (UTC)."""
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in suite)[:40]
    return f"{datetime.now(UTC):%Y%m%d-%H%M}-{name}-{secrets.token_hex(2)}"


def prepare(suite: Suite) -> tuple[Experiment, ...]:
    """The suite's plan, with every name and data set in it known to exist: InputError before any work is done."""
    from drbench import experiment

    work = plan(suite)
    if suite.eval_weights is not None:
        work = (experiment.of_weights(work[0], suite.eval_weights),)
    experiment.check(work)
    return work


def run_suite(
    suite: Suite,
    store: Store,
    *,
    work: Sequence[Experiment] | None = None,
    files: Path,
    command: str = "",
    resume: Run | None = None,
    on_event: OnEvent = lambda event: None,
) -> Outcome:
    """Do what the suite says and keep every Record as soon as it is made; `resume` goes on with an earlier run.

    `work` is what `prepare` gave, if that was done. Files (checkpoints, weights, tracebacks) go to
    `files`/RUN/VARIANT-sSEED. A first Ctrl-C ends the run in order ("interrupted"); a second one ends the process.
    """
    work = prepare(suite) if work is None else work
    if resume:
        same_place(resume)
    run = store.reopen_run(resume.id) if resume else _begin(suite, store, command)
    skip = store.done_keys(run.id) if resume else frozenset()
    counts = {"done": 0, "failed": 0, "skipped": 0}
    status = "failed"
    try:
        _build_kernels(work, skip, on_event)
        for record in _records(suite, work, files / run.id, skip, counts, on_event):
            store.add(run.id, record)
            counts["done" if record.status == "done" else "failed"] += 1
            on_event(Event("variant", f"{record.variant.architecture} {record.label}", payload=record))
        status = "failed" if counts["failed"] else "done"
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the second Ctrl-C does not wait for anybody
        status = "interrupted"
    finally:
        store.end_run(run.id, status)
    return Outcome(run.id, status, **counts)


def same_place(run: Run) -> None:
    """InputError unless this machine and drbench are those of the run: what is recorded goes under its name."""
    from drbench import __version__
    from drbench.measure.machine import machine

    here = machine()
    for what in ("cpu", "cores", "gpu", "torch"):
        then, now = getattr(run.machine, what), getattr(here, what)
        if then != now:
            raise InputError(f"run {run.id} was made with {what} {then!r}, here it is {now!r}: start a new run instead")
    if run.code.drbench != __version__:
        was = run.code.drbench
        raise InputError(f"run {run.id} was made with drbench {was}, this is {__version__}: start a new run instead")


def dry_run(suite: Suite, on_event: OnEvent) -> None:
    """Count what every network of the suite costs; nothing is timed, trained or recorded."""
    counted = suite.model_copy(update={"stages": ("cost",), "eval_weights": None})
    with TemporaryDirectory() as files:
        for record in _records(counted, plan(counted), Path(files), frozenset(), {"skipped": 0}, on_event):
            on_event(Event("variant", record.label, payload=record))


def references(suite: Suite) -> tuple[Published, ...]:
    """The published rows that the suite wants to see beside its own: globs over architecture/operator."""
    names = {table.name for table in suite.architectures}
    return tuple(
        row
        for row in published()
        if row.model in names and any(fnmatchcase(f"{row.model}/{row.operator}", glob) for glob in suite.references)
    )


def _build_kernels(work: Sequence[Experiment], skip: Set[str], on_event: OnEvent) -> None:
    """Before anything is timed or trained, and only for what is not done yet."""
    from drbench import experiment

    todo = (one for one in work if not all(experiment_key(one, variant) in skip for variant in one.variants))
    experiment.build_kernels(todo, lambda text: on_event(Event("note", text)))


def _begin(suite: Suite, store: Store, command: str) -> Run:
    from drbench.jobs import now
    from drbench.measure.machine import code, machine

    run = Run(
        id=new_run_id(suite.name),
        suite=suite.name,
        suite_text=to_toml(suite),
        command=command,
        started=now(),
        machine=machine(),
        code=code(),
    )
    store.begin_run(run)
    return run


def _records(
    suite: Suite,
    work: Sequence[Experiment],
    files: Path,
    skip: Set[str],
    counts: dict[str, int],
    on_event: OnEvent,
) -> Iterator[Record]:
    """Stage by stage. Widths of matched networks are found first: they are part of what a variant is."""
    from drbench import experiment

    widths = yield from _resolved(suite, work, files, on_event)
    for stage in STAGES:
        todo = [_with_widths(one, widths) for one in work if one.stage == stage]
        todo = [one for one in todo if one.variants]
        if not todo:
            continue
        on_event(Event("stage", stage, 0, len(todo)))
        costs: list[Record] = []
        for number, one in enumerate(todo):
            if all(experiment_key(one, variant) in skip for variant in one.variants):
                counts["skipped"] += len(one.variants)
                continue
            on_event(Event("stage", stage, number, len(todo), payload=one))
            for record in experiment.run(one, workdir=_workdir(files, one), on_event=on_event):
                if record.key in skip:  # measured once more beside a network that was not done
                    counts["skipped"] += 1
                    continue
                costs.append(record)
                yield record
        on_event(Event("stage", stage, len(todo), len(todo)))
        if stage == "cost":
            on_event(Event("table", stage, payload=(tuple(costs), references(suite))))


def _resolved(
    suite: Suite, work: Sequence[Experiment], files: Path, on_event: OnEvent
) -> Generator[Record, None, dict[str, Variant | None]]:
    """Matched networks by hash, with the width that was found; None, and a failed Record, where none was."""
    from drbench import experiment

    found: dict[str, Variant | None] = {}
    targets = {variant_hash(variant): variant for rows in variants(suite).values() for variant, _ in rows}
    for one in work:
        for variant, label in zip(one.variants, one.labels, strict=True):
            name = variant_hash(variant)
            if variant.match is None or variant.matched_to is None or name in found:
                continue
            on_event(Event("note", f"{variant.architecture}: finding the width of {label}"))
            job = Job(replace(one, seed=None), variant, label)
            try:
                found[name] = experiment.resolve(variant, targets[variant.matched_to])
            except Exception as error:
                found[name] = None
                yield job.failed(error, files / name)
    return found


def _with_widths(one: Experiment, widths: Mapping[str, Variant | None]) -> Experiment:
    """The experiment on the networks whose widths were found; without those whose were not."""
    rows = [(widths.get(variant_hash(v), v), label) for v, label in zip(one.variants, one.labels, strict=True)]
    kept = [(variant, label) for variant, label in rows if variant is not None]
    return replace(one, variants=tuple(v for v, _ in kept), labels=tuple(label for _, label in kept))


def _workdir(files: Path, one: Experiment) -> Path:
    name = variant_hash(one.variants[0])
    return files / (name if one.seed is None else f"{name}-s{one.seed}")
