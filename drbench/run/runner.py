"""Suites -> runs in the store: checked first, then done, kept record by record, and ended in order."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from drbench.errors import InputError, NothingError
from drbench.executor import OnEvent, ignore
from drbench.records import Event, Experiment, Machine, Run
from drbench.run.loop import Loop, limits_of
from drbench.run.session import Counts, Outcome, new_run, session
from drbench.suite.plan import named, plan
from drbench.suite.read import to_toml
from drbench.suite.tables import Suite
from drbench.workers import Workers

if TYPE_CHECKING:
    from drbench_db import Store


def prepare(suite: Suite, on_event: OnEvent = ignore) -> tuple[Experiment, ...]:
    """The suite's plan, with every name and data set in it checked: InputError before any work is done.

    `on_event` gets notes about the data set. NothingError for a shard in which nothing is.
    """
    work = plan(suite)
    if not work:
        part, of = suite.shard or (1, 1)
        raise NothingError(f"shard {part}/{of} of suite {suite.name!r} is empty: there are not that many variants")
    with Workers() as workers:
        limits = replace(limits_of(suite.limits), seconds=None)  # data may have to be fetched first
        ended = workers.run(
            "drbench.experiment:prepare", work, suite.eval_weights, named(suite), limits=limits, on_event=on_event
        )
    checked: tuple[Experiment, ...] = ended.value_of("checking the suite")
    return checked


def run_suite(
    suite: Suite,
    store: Store,
    *,
    work: Sequence[Experiment] | None = None,
    files: Path,
    command: str = "",
    resume: Run | None = None,
    retry_failed: bool = False,
    on_event: OnEvent = ignore,
) -> Outcome:
    """Do what the suite says and keep every Record as soon as it is made; `resume` goes on with an earlier run.

    `work` is what `prepare` gave, if that was done. Files (checkpoints, weights, tracebacks) go to
    `files`/RUN/VARIANT-sSEED. What failed in the run that is gone on with stays so, unless `retry_failed`. A first
    Ctrl-C ends the run in order ("interrupted").
    """
    work = prepare(suite, on_event) if work is None else work
    if resume:
        same_place(resume)
    run = resume or new_run(suite.name, suite.name, to_toml(suite), command, here())
    with session(store, run, files, again=resume is not None) as current, Workers() as workers:
        done, failed = _before(store, run)
        lost = frozenset() if retry_failed else failed
        loop = Loop(suite, current.files, workers, done, lost, current.counts, on_event)
        for record in loop.records(work):
            current.keep(record)
            on_event(Event("variant", f"{record.variant.architecture} {record.label}", payload=record))
    return current.outcome


def same_place(run: Run) -> None:
    """InputError unless this machine and drbench are those of the run: what is recorded goes under its name."""
    from drbench import __version__

    machine = here()
    for what in ("cpu", "cores", "gpu", "torch"):
        then, now = getattr(run.machine, what), getattr(machine, what)
        if then != now:
            raise InputError(f"run {run.id} was made with {what} {then!r}, here it is {now!r}: start a new run instead")
    if run.code.drbench != __version__:
        was = run.code.drbench
        raise InputError(f"run {run.id} was made with drbench {was}, this is {__version__}: start a new run instead")


def here() -> Machine:
    """This machine, as a process that has torch sees it."""
    with Workers() as workers:
        found: Machine = workers.run("drbench.experiment:here").value_of("looking at the machine")
    return found


def dry_run(suite: Suite, on_event: OnEvent) -> None:
    """Count what every network of the suite costs; nothing is timed, trained or recorded."""
    counted = suite.model_copy(update={"stages": ("cost",), "eval_weights": None})
    with TemporaryDirectory() as files, Workers() as workers:
        loop = Loop(counted, Path(files), workers, frozenset(), frozenset(), Counts(), on_event)
        for record in loop.records(plan(counted)):
            on_event(Event("variant", record.label, payload=record))


def _before(store: Store, run: Run) -> tuple[Set[str], Set[str]]:
    """The keys of the work of a run that is done, and of that which failed."""
    done = store.done_keys(run.id)
    return done, {record.key for record in store.records(run.id, status="failed", samples=False)} - done
