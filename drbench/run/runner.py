"""Suites -> runs in the store: checked first, then done, kept record by record, and ended in order."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from drbench import interrupts, trust
from drbench.errors import InputError, NothingError
from drbench.records import NOISE, Event, Experiment, Machine, Run
from drbench.run.lock import hold
from drbench.run.stages import Counts, Going, limits_of, value_of
from drbench.suite.plan import named, plan
from drbench.suite.read import to_toml
from drbench.suite.tables import Suite
from drbench.text import is_utf8, printable
from drbench.workers import Workers

if TYPE_CHECKING:
    from drbench_db import Store

OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Outcome:
    """What became of a run. `status`: "done", "failed" (some variant did) or "interrupted".

    `skipped`: done before; `lost`: failed before, and not tried again.
    """

    run_id: str
    status: str
    done: int = 0
    failed: int = 0
    skipped: int = 0
    lost: int = 0


def new_run_id(suite: str) -> str:
    """Short, sortable, readable, unique: 20261123-1405-mobilenet-ab12 (UTC)."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M}-{_in_id(suite)}-{secrets.token_hex(2)}"


def is_noise(run: Run) -> bool:
    """Whether `drbench noise` made the run. Its suite is that of the networks, so only its id tells it apart."""
    return bool(re.fullmatch(rf"\d{{8}}-\d{{4}}-{re.escape(_in_id(f'{NOISE}-{run.suite}'))}-[0-9a-f]{{4}}", run.id))


def _in_id(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)[:40]


def prepare(suite: Suite, on_event: OnEvent = lambda event: None) -> tuple[Experiment, ...]:
    """The suite's plan, with every name and data set in it checked: InputError before any work is done.

    `on_event` gets notes about the data set. NothingError for a shard in which nothing is.
    """
    work = plan(suite)
    if not work:
        part, of = suite.shard or (1, 1)
        raise NothingError(f"shard {part}/{of} of suite {suite.name!r} is empty: there are not that many variants")
    with Workers() as workers:
        limits = replace(limits_of(suite), seconds=None)  # data may have to be fetched first
        ended = workers.run(
            "drbench.experiment:prepare", work, suite.eval_weights, named(suite), limits=limits, on_event=on_event
        )
    checked: tuple[Experiment, ...] = value_of(ended, "checking the suite")
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
    on_event: OnEvent = lambda event: None,
) -> Outcome:
    """Do what the suite says and keep every Record as soon as it is made; `resume` goes on with an earlier run.

    `work` is what `prepare` gave, if that was done. Files (checkpoints, weights, tracebacks) go to
    `files`/RUN/VARIANT-sSEED. What failed in the run that is gone on with stays so, unless `retry_failed`. A first
    Ctrl-C ends the run in order ("interrupted").
    """
    work = prepare(suite, on_event) if work is None else work
    if resume:
        same_place(resume)
    run = resume or _new(suite, command)
    own = folder(files, run)
    with hold(own, run.id):
        if resume is None:
            trust.sign(run, own)
        return _held(suite, work, store, run, own, resume is not None, retry_failed, on_event)


def folder(files: Path, run: Run) -> Path:
    """The folder of a run's files below `files`.

    InputError for an id that drbench never makes (a foreign database), and for a path that is not UTF-8.
    """
    if not re.fullmatch(r"[\w-][\w.-]{0,119}", run.id):
        raise InputError(f"run {run.id!r:.150}: an id has letters, digits and -_. only; nothing was written")
    if not is_utf8(str(files)):  # refused now, and not when a record that names its weights is to be stored
        raise InputError(f"drbench-files: got '{printable(files)}'; expected a directory whose name is UTF-8. Use --db")
    return files / run.id


def _held(
    suite: Suite,
    work: Sequence[Experiment],
    store: Store,
    run: Run,
    files: Path,
    again: bool,
    retry_failed: bool,
    on_event: OnEvent,
) -> Outcome:
    counts = Counts()
    with under_way(store, run, again=again) as ending:
        done, failed = _before(store, run)
        with Workers() as workers:
            lost = frozenset() if retry_failed else failed
            going = Going(suite, files, workers, done, lost, counts, on_event)
            for record in going.records(work):
                with interrupts.shielded:
                    store.add(run.id, record)
                    counts.add(record)
                on_event(Event("variant", f"{record.variant.architecture} {record.label}", payload=record))
        ending.status = "failed" if counts.failed or counts.lost else "done"
    return Outcome(run.id, ending.status, counts.done, counts.failed, counts.skipped, counts.lost)


@dataclass
class Ending:
    """How a run ends: "failed" until something else is known."""

    status: str = "failed"


@contextmanager
def under_way(store: Store, run: Run, *, again: bool = False) -> Iterator[Ending]:
    """Begin a run (`again`: reopen it) and note how it ended. An interrupt of the block ends here: "interrupted"."""
    ending, begun, entered = Ending(), False, False
    try:
        with interrupts.shielded:
            if again:
                store.reopen_run(run.id)
            else:
                store.begin_run(run)
            begun = True
        entered = True
        yield ending
    except KeyboardInterrupt:
        ending.status = "interrupted"
        if not entered:
            raise
    finally:
        if begun:
            with interrupts.shielded:
                if ending.status == "failed" and interrupts.asked():  # what failed was interrupted
                    ending.status = "interrupted"
                store.end_run(run.id, ending.status)


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
        found: Machine = value_of(workers.run("drbench.experiment:here"), "looking at the machine")
    return found


def dry_run(suite: Suite, on_event: OnEvent) -> None:
    """Count what every network of the suite costs; nothing is timed, trained or recorded."""
    counted = suite.model_copy(update={"stages": ("cost",), "eval_weights": None})
    with TemporaryDirectory() as files, Workers() as workers:
        going = Going(counted, Path(files), workers, frozenset(), frozenset(), Counts(), on_event)
        for record in going.records(plan(counted)):
            on_event(Event("variant", record.label, payload=record))


def _new(suite: Suite, command: str) -> Run:
    from drbench.job import now
    from drbench.measure.machine import code

    return Run(
        id=new_run_id(suite.name),
        suite=suite.name,
        suite_text=to_toml(suite),
        command=command,
        started=now(),
        machine=here(),
        code=code(),
    )


def _before(store: Store, run: Run) -> tuple[Set[str], Set[str]]:
    """The keys of the work of a run that is done, and of that which failed."""
    done = store.done_keys(run.id)
    return done, {record.key for record in store.records(run.id, status="failed", samples=False)} - done
