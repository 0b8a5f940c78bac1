"""Noise of this machine: the floor, measured for a given time and stored as a run.

Plain networks of a suite are timed against copies of themselves, in as many fresh processes as the time allows. The
results are the floor, which a ratio must exceed to be detected, and the difference that a comparison of a given
duration can detect.
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
"""Minimum number of workers of each network, even if the time is over."""


@dataclass(frozen=True)
class Floor:
    """The floor of one network at one batch size.

    interval: of the ratio of its copy to the network.
    workers: number of values.
    resolved: for each of MINUTES, the relative difference that a comparison of that duration would detect.
    """

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
    """Measure the floor for about `max_time` seconds and store it. InputError for a suite without plain networks."""
    experiment = _experiment(suite)
    run = new_run(noise_name(suite.name), suite.name, to_toml(suite), command, here([experiment]))
    records: list[Record] = []
    start = time.perf_counter()
    elapsed = 0.0

    def go_on(number: int) -> bool:
        nonlocal elapsed
        elapsed = time.perf_counter() - start
        on_event(Event("step", NOISE, min(round(elapsed), round(max_time)), round(max_time)))
        return number < LEAST or elapsed + elapsed / number < max_time

    with session(store, run, files) as current, Workers() as workers:
        for record in schedule.measure(
            experiment, workers, limits_of(suite.limits), workdir=current.files, go_on=go_on
        ):
            with interrupts.shielded:
                current.keep(record)
                records.append(record)
            on_event(Event("variant", record.variant.architecture, payload=record))
    return current.outcome, tuple(floors(records, elapsed))


def floors(records: Sequence[Record], seconds: float) -> Iterator[Floor]:
    """The floors of noise records. `seconds`: the duration of all their measurements together."""
    done = [record for record in records if record.status == "done"]
    measured = [(record, m) for record in done for m in record.measurements if m.name == "latency_floor"]
    for record, m in measured:
        log_ratios = m.context["worker_log_ratios"]
        duration = 1.5 * seconds / len(measured)  # a comparison times three networks; two were timed here
        resolved = tuple(resolution(log_ratios, duration, 60.0 * minutes, LEVEL) for minutes in MINUTES)
        size = m.context["batch_size"]
        yield Floor(record.variant.architecture, size, ratio_interval(log_ratios, LEVEL), len(log_ratios), resolved)


def _experiment(suite: Suite) -> Experiment:
    """One experiment of the suite's plain networks, with the suite's latency settings."""
    work = prepare(suite.model_copy(update={"stages": ("latency",)}))
    rows = [row for experiment in work for row in zip(experiment.variants, experiment.labels, strict=True)]
    plain = [(variant, label) for variant, label in rows if is_plain(variant)]
    if not plain:
        raise InputError(
            f"suite {suite.name!r}: got no plain network; expected at least one. Check `plain` in the suite"
        )
    variants, labels = zip(*plain, strict=True)
    return replace(work[0], stage=NOISE, variants=variants, labels=labels)
