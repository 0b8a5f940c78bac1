"""The life cycle of a run: the same for suites, noise and the operator benchmark.

A run belongs to one process at a time (`run.lock`). It begins, or is reopened, in the store. Its records are stored as
they are made. It ends with the status "done", "failed" or "interrupted", whatever stops it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from drbench import interrupts, trust
from drbench.job import now
from drbench.records import NOISE, Machine, Record, Run
from drbench.run.files import run_folder
from drbench.run.lock import hold

if TYPE_CHECKING:
    from drbench_db import Store


@dataclass
class Counts:
    """Numbers of pieces of work. `skipped`: done before. `lost`: failed before, not repeated."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `status`: "done", "failed" (some of its work failed) or "interrupted"; counts as in Counts."""

    run_id: str
    status: str
    done: int = 0
    failed: int = 0
    skipped: int = 0
    lost: int = 0


@dataclass
class Session:
    """A run in progress and the folder of its `files`; created by `session`."""

    store: Store
    run: Run
    files: Path
    counts: Counts = field(default_factory=Counts)
    status: str = "failed"

    def keep(self, *records: Record) -> None:
        """Store records in one commit and count them. An interrupt waits until both are done."""
        with interrupts.shielded:
            self.store.add_many(self.run.id, records)
            for record in records:
                if record.status == "done":
                    self.counts.done += 1
                else:
                    self.counts.failed += 1

    @property
    def outcome(self) -> Outcome:
        """How the run ended; valid after the `with` block."""
        return Outcome(self.run.id, self.status, **vars(self.counts))


@contextmanager
def session(store: Store, run: Run, files: Path, *, again: bool = False) -> Iterator[Session]:
    """Begin a run (`again`: reopen it), hold its lock during the `with` block and end it, whatever happens.

    After Ctrl-C the run is "interrupted" and nothing is raised. The files of the run go to `files`/RUN.

    Raises:
        InputError: another process holds the run; see also `run_folder`.
    """
    own = run_folder(files, run)
    with hold(own, run.id):
        if not again:
            trust.sign(run, own)
        current = Session(store, run, own)
        begun = entered = False
        try:
            with interrupts.shielded:
                if again:
                    store.reopen_run(run.id)
                else:
                    store.begin_run(run)
                begun = True
            entered = True
            yield current
            current.status = "failed" if current.counts.failed or current.counts.lost else "done"
        except KeyboardInterrupt:
            current.status = "interrupted"
            if not entered:
                raise
        finally:
            if begun:
                with interrupts.shielded:
                    if current.status == "failed" and interrupts.asked():  # the failure was the interrupt
                        current.status = "interrupted"
                    store.end_run(run.id, current.status)


def new_run(name: str, suite: str, suite_text: str, command: str, machine: Machine) -> Run:
    """A run that begins now on `machine`, with the current code. `name` becomes part of its id."""
    from drbench.measure.machine import code

    return Run(new_run_id(name), suite, suite_text, command, now(), machine, code())


def new_run_id(name: str) -> str:
    """A unique, sortable id with the time in UTC, such as 20261123-1405-mobilenet-ab12."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M}-{_in_id(name)}-{secrets.token_hex(2)}"


def noise_name(suite: str) -> str:
    """The name of a suite's noise run, as used in its id."""
    return f"{NOISE}-{suite}"


def is_noise(run: Run) -> bool:
    """Whether `drbench noise` made the run. Its suite is the one of the networks, so only its id tells."""
    name = re.escape(_in_id(noise_name(run.suite)))
    return bool(re.fullmatch(rf"\d{{8}}-\d{{4}}-{name}-[0-9a-f]{{4}}", run.id))


def _in_id(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)[:40]
