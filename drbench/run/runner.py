"""Suites -> runs in the store: checks the suite, does its work and stores each record as soon as it is made."""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from drbench import protocol_versions
from drbench.conditions import differences, of_resuming
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
    """The suite's Experiments, after checks of every name and data set. `on_event` gets notes on the data set.

    Raises:
        InputError: an unknown name or unusable data; no work has been done.
        NothingError: the suite's shard is empty.
    """
    work = plan(suite)
    if not work:
        part, of = suite.shard or (1, 1)
        raise NothingError(f"shard {part}/{of} of suite {suite.name!r} is empty: the suite has fewer variants")
    with Workers() as workers:
        limits = replace(limits_of(suite.limits), seconds=None)  # a download of data may take long
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
    """Run a suite and store every Record as soon as it is made. The first Ctrl-C ends the run with "interrupted".

    Args:
        work: the result of `prepare`, if it was called before.
        files: checkpoints, weights and tracebacks go to `files`/RUN/VARIANT-sSEED.
        resume: an earlier run to continue. Work that failed in it is repeated only with `retry_failed`.
    """
    work = prepare(suite, on_event) if work is None else work
    if resume:
        check_resumable(store, resume)
    run = resume or new_run(suite.name, suite.name, to_toml(suite), command, here(work))
    with session(store, run, files, again=resume is not None) as current, Workers() as workers:
        done, failed = _before(store, run)
        lost = frozenset() if retry_failed else failed
        loop = Loop(suite, current.files, workers, done, lost, current.counts, on_event)
        for record in loop.records(work):
            current.keep(record)
            on_event(Event("variant", f"{record.variant.architecture} {record.label}", payload=record))
    return current.outcome


def check_resumable(store: Store, run: Run) -> None:
    """InputError unless this machine and this drbench make figures that are comparable with those of the run."""
    columns, _ = store.rows(run=run.id, names=())
    settings = (json.loads(text) for text in columns["settings"])
    used = protocol_versions.of_records(zip(columns["stage"], settings, strict=True))
    now = {name: protocol_versions.CURRENT[name] for name in used}
    different = differences(of_resuming(run.machine, used), of_resuming(here(), now))
    if different:
        here_are = ", ".join(f"{name} {value!r}" for name, (_, value) in different.items())
        wanted = ", ".join(f"{name} {value!r}" for name, (value, _) in different.items())
        raise InputError(f"run {run.id}: got {here_are}; expected {wanted}, as in the run. Start a new run")


def here(work: Sequence[Experiment] = ()) -> Machine:
    """This machine, as a process with torch loaded sees it. InputError if it lacks a device that the work names."""
    settings = [one.latency or one.train for one in work]
    devices = sorted({one.device for one in settings if one is not None})
    with Workers() as workers:
        ended = workers.run("drbench.experiment:here", devices)
    machine: Machine = ended.value_of("reading the facts of the machine")
    return machine


def dry_run(suite: Suite, on_event: OnEvent) -> None:
    """Count the cost of every network of the suite. Nothing is timed, trained or stored."""
    counted = suite.model_copy(update={"stages": ("cost",), "eval_weights": None})
    with TemporaryDirectory() as files, Workers() as workers:
        loop = Loop(counted, Path(files), workers, frozenset(), frozenset(), Counts(), on_event)
        for record in loop.records(plan(counted)):
            on_event(Event("variant", record.label, payload=record))


def _before(store: Store, run: Run) -> tuple[Set[str], Set[str]]:
    """The keys of a run's finished work, and those of its failed work."""
    done = store.done_keys(run.id)
    return done, {record.key for record in store.records(run.id, status="failed", samples=False)} - done
