"""How well can this machine tell two equal networks apart? A long floor, kept as a run of its own.

The plain networks of a suite beside their own copies, in as many fresh processes as there is time for. What comes out
is what a ratio of the same kind has to exceed, and how long a comparison must take to tell so much.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from drbench import interrupts
from drbench.errors import InputError
from drbench.executor import OnEvent, ignore
from drbench.identity import is_plain
from drbench.latency import schedule
from drbench.latency.schedule import LEVEL
from drbench.records import NOISE, Event, Experiment, Record
from drbench.run.loop import limits_of
from drbench.run.runner import here, prepare
from drbench.run.session import Outcome, new_run, noise_name, session
from drbench.statistics.ratios import Interval, ratio_interval, resolution
from drbench.suite.read import to_toml
from drbench.suite.tables import Suite
from drbench.workers import Workers

if TYPE_CHECKING:
    from drbench_db import Store

MINUTES = (1, 2, 5, 20)
LEAST = 3
"""Workers of each network, however little time there is."""


@dataclass(frozen=True)
class Floor:
    """Of one network at one batch size: its copy over itself, and the share that so many minutes would resolve."""

    network: str
    batch_size: int
    interval: Interval
    workers: int
    resolved: tuple[float, ...]


def measure(
    suite: Suite,
    store: Store,
    *,
    max_time: float,
    files: Path,
    command: str = "",
    on_event: OnEvent = ignore,
) -> tuple[Outcome, tuple[Floor, ...]]:
    """Take the floor for about `max_time` seconds and keep it. InputError for a suite without plain networks."""
    one = _experiment(suite)
    run = new_run(noise_name(suite.name), suite.name, to_toml(suite), command, here())
    records: list[Record] = []
    start = time.perf_counter()
    blocks: list[float] = []

    def go_on(number: int) -> bool:
        blocks.append(time.perf_counter() - start)
        passed = blocks[-1]
        on_event(Event("step", NOISE, min(round(passed), round(max_time)), round(max_time)))
        return number < LEAST or passed + passed / number < max_time

    with session(store, run, files) as current, Workers() as workers:
        for record in schedule.measure(one, workers, limits_of(suite.limits), workdir=current.files, go_on=go_on):
            with interrupts.shielded:
                current.keep(record)
                records.append(record)
            on_event(Event("variant", record.variant.architecture, payload=record))
    return current.outcome, tuple(floors(records, blocks[-1] if blocks else 0.0))


def floors(records: Sequence[Record], seconds: float) -> Iterator[Floor]:
    """What noise records say, which took so many seconds in all."""
    done = [record for record in records if record.status == "done"]
    measured = [(record, m) for record in done for m in record.measurements if m.name == "latency_floor"]
    for record, m in measured:
        said = m.context["worker_log_ratios"]
        each = 1.5 * seconds / len(measured)  # of three networks, where two were timed
        resolved = tuple(resolution(said, each, 60.0 * minutes, LEVEL) for minutes in MINUTES)
        size = m.context["batch_size"]
        yield Floor(record.variant.architecture, size, ratio_interval(said, LEVEL), len(said), resolved)


def _experiment(suite: Suite) -> Experiment:
    """The suite's plain networks, as it times them."""
    work = prepare(suite.model_copy(update={"stages": ("latency",)}))
    plain = [(v, label) for one in work for v, label in zip(one.variants, one.labels, strict=True) if is_plain(v)]
    if not plain:
        raise InputError(f"suite {suite.name!r} has no plain network whose floor could be taken (plain = false?)")
    variants, labels = zip(*plain, strict=True)
    return replace(work[0], stage=NOISE, variants=variants, labels=labels)
