"""Compares the working tree with a commit: both alternate on one machine, each with its own code and caches.

    measured = measure("mobilenet", "main", max_time=120)
    for compared in measured.compared:
        compared.variant, compared.decision, compared.interval

Each variant is measured in blocks: two residents of the commit and one of the working tree, three fresh processes, take
turns every few calls. The ratio of the two residents of the commit is the floor. Blocks are run until all variants are
decided; decisions are made after 8, 16 and 32 blocks. The confidence level is corrected for the number of decisions and
variants.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from drbench.against.conductor import Place, SeatError, Side, block
from drbench.against.worktree import Worktree, caches, worktree
from drbench.errors import FailedError, InputError
from drbench.latency import busy
from drbench.latency.turns import Samples, log_ratio, together
from drbench.records import Event
from drbench.statistics.ratios import LIMIT, Decision, Interval, Resolution, decide, ratio_interval, resolves, shared

LOOKS = (8, 16, 32)
"""Numbers of blocks after which a variant is judged; fewer than the first give no decision."""
ROUNDS = 12
"""Turns of each resident per block and batch size."""
LEVEL = 0.95
"""Confidence level of all decisions of one check together."""
BUILDING = 600.0
"""Time limit in seconds for a side to plan its variants and, if necessary, compile its kernels."""
THEN, COPY, NOW = "then", "then's copy", "now"

OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Compared:
    """One variant at one batch size: the working tree (`now`) compared with the commit (`then`).

    log_ratios, floor: one value per block (see `block_log_ratios`).
    now, then: seconds per call, the median of all kept calls.
    seconds: duration of all its blocks.
    level: confidence level of its interval, corrected for the number of looks and comparisons.
    limit: the relative slowdown that is allowed.
    """

    variant: str
    batch_size: int
    log_ratios: tuple[float, ...]
    floor: tuple[float, ...]
    now: float
    then: float
    seconds: float
    level: float
    limit: float = LIMIT
    context: Mapping[str, Any] = field(default_factory=dict)

    @property
    def interval(self) -> Interval:
        """The interval of the ratio of now to then."""
        return ratio_interval(self.log_ratios, self.level)

    @property
    def floor_interval(self) -> Interval:
        """The interval of the ratio of then's copy to then."""
        return ratio_interval(self.floor, self.level)

    @property
    def decision(self) -> Decision:
        """The decision (see `statistics.ratios.decide`); "unresolved" with fewer blocks than the first look has."""
        enough = len(self.log_ratios) >= LOOKS[0]
        return decide(self.interval, self.floor_interval, self.limit) if enough else "unresolved"

    @property
    def resolution(self) -> Resolution:
        """The difference that this comparison could detect."""
        return resolves(self.log_ratios, self.floor, self.seconds, limit=self.limit, level=self.level)


@dataclass(frozen=True)
class Measured:
    """The result for every variant of the suite. `new` and `failed` map a variant to the reason."""

    commit: str
    compared: tuple[Compared, ...]
    new: Mapping[str, str] = field(default_factory=dict)
    vanished: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def measure(
    suite: str,
    ref: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    limit_of: Callable[[str], float] = lambda variant: LIMIT,
    max_time: float = 120.0,
    python: str | None = None,
    on_event: OnEvent = lambda event: None,
) -> Measured:
    """Time the variants of `suite` (a name or a path), and compare them with those at the git commit `ref`.

    Args:
        overrides: options of the command line, as in `suite.read.read_suite`; for both sides.
        limit_of: architecture/label -> the relative slowdown that is allowed for that variant.
        max_time: time limit in seconds from the start; no block begins that would exceed it.
        python: the interpreter for the commit, if it needs another environment than this one.
        on_event: gets an Event "step" for every block.

    Raises:
        InputError: no repository, no such commit, no such suite on one of the sides, drbench too old at the commit.
        FailedError: a side does not start.
    """
    if not hasattr(os, "fork"):
        raise InputError(f"--against: got {sys.platform}; expected an operating system with fork, Linux or macOS")
    if python is not None and not shutil.which(python):
        raise InputError(f"--against-python: got {python!r}; expected an executable")
    start = time.perf_counter()
    with ExitStack() as stack:
        tree = stack.enter_context(worktree(ref))
        places = _places(tree, ref, python)
        then, now = (stack.enter_context(Side(place)) for place in places)
        plans = []
        for side in (then, now):
            side.ready()
            with side.fork() as resident:
                try:
                    plans.append(resident.ask("plan", BUILDING, suite=suite, overrides=dict(overrides or {})))
                except FailedError as error:
                    raise InputError(f"{side.place.name}: {error}") from error
        notes = [note for plan in plans for note in plan["notes"]]
        if python is None and (changed := tree.requirements_changed()):
            notes.append(f"{', '.join(changed)} differ from {ref}, but both sides run in this environment. "
                         "Use --against-python for a Python with the commit's requirements")  # fmt: skip
        old, new = (plan["variants"] for plan in plans)
        work = _Work(then, now, plans[1]["latency"], start + max_time, on_event)
        watch = busy.LoadWatch(own=lambda: time.process_time() + then.spent() + now.spent())
        work.run({name: (old[name], new[name]) for name in new if name in old}, limit_of)
        notes += work.notes
        if work.contexts:
            notes += busy.notes(watch.load(), max(context["threads"] for context in work.contexts.values()))
    return Measured(
        commit=tree.commit,
        compared=tuple(work.results()),
        new={**{name: "" for name in new if name not in old}, **work.new},
        vanished=tuple(name for name in old if name not in new),
        failed=work.failed,
        notes=tuple(dict.fromkeys(notes)),
        seconds=time.perf_counter() - start,
    )


def _places(tree: Worktree, ref: str, python: str | None) -> tuple[Place, Place]:
    then = Place(
        name=f"at {ref}",
        directory=tree.directory,
        python=python or sys.executable,
        moved=(str(tree.repository), str(tree.path)),
        environment=caches(tree.commit),
    )
    return then, Place("in the working tree", Path.cwd())


def block_log_ratios(now: Samples, then: Samples, copy: Samples) -> tuple[float, float]:
    """The log ratio of now to the mean of then and its copy, and that of the copy to then, from one block.

    The mean of both is used because blocks differ mostly by the memory layout of their processes.
    """
    floor = log_ratio(copy, then)
    return (log_ratio(now, then) + log_ratio(now, copy)) / 2, floor


@dataclass
class _Case:
    """A variant at one batch size during the measurement."""

    log_ratios: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    now: list[float] = field(default_factory=list)
    then: list[float] = field(default_factory=list)
    seconds: float = 0.0
    decided: bool = False

    def add(self, samples: Mapping[str, Samples], seconds: float) -> None:
        ratio, floor = block_log_ratios(samples[NOW], samples[THEN], samples[COPY])
        self.log_ratios.append(ratio)
        self.floor.append(floor)
        self.now += together(samples[NOW])
        self.then += together(samples[THEN])
        self.seconds += seconds


class _Work:
    """Runs the blocks of all variants in turn, so that slow changes of the machine affect all variants alike."""

    def __init__(self, then: Side, now: Side, latency: Mapping[str, Any], end: float, on_event: OnEvent) -> None:
        self.then, self.now, self.latency, self.end, self.on_event = then, now, latency, end, on_event
        self.cases: dict[str, dict[int, _Case]] = {}
        self.limits: dict[str, float] = {}
        self.contexts: dict[str, Mapping[str, Any]] = {}
        self.new: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.notes: dict[str, None] = {}
        self.slowest = 0.0

    def run(
        self, variants: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]], limit_of: Callable[[str], float]
    ) -> None:
        """Run blocks until all variants are decided, the last look is done or the time is over."""
        self.cases = {name: {size: _Case() for size in self.latency["batch_sizes"]} for name in variants}
        self.limits = {name: limit_of(name) for name in variants}
        for number in range(LOOKS[-1]):
            pending = [name for name in self.cases if self._undecided(name)]
            for index, name in enumerate(pending):
                if time.perf_counter() + self.slowest > self.end:
                    return
                self.on_event(Event("step", name, number * len(pending) + index, LOOKS[-1] * len(pending)))
                self._block(name, *variants[name], number)
            if number + 1 in LOOKS:
                for result in self.results():
                    self.cases[result.variant][result.batch_size].decided = result.decision != "unresolved"

    def results(self) -> list[Compared]:
        """The comparisons so far, of all variants with at least one block."""
        level = shared(LEVEL, len(LOOKS) * sum(map(len, self.cases.values())))
        return [
            Compared(
                variant=name,
                batch_size=size,
                log_ratios=tuple(case.log_ratios),
                floor=tuple(case.floor),
                now=median(case.now),
                then=median(case.then),
                seconds=case.seconds,
                level=level,
                limit=self.limits[name],
                context={**self.contexts[name], "batch_size": size},
            )
            for name, cases in self.cases.items()
            for size, case in cases.items()
            if case.log_ratios
        ]

    def _undecided(self, name: str) -> list[int]:
        excluded = name in self.new or name in self.failed
        return [] if excluded else [size for size, case in self.cases[name].items() if not case.decided]

    def _block(self, name: str, old: Mapping[str, Any], new: Mapping[str, Any], number: int) -> None:
        seats = {THEN: (self.then, old), COPY: (self.then, old), NOW: (self.now, new)}
        sizes = self._undecided(name)
        start = time.perf_counter()
        try:
            samples, contexts = block(
                seats, {**self.latency, "batch_sizes": tuple(sizes)}, rounds=ROUNDS, number=number
            )
        except SeatError as error:
            (self.failed if error.seat == NOW else self.new)[name] = str(error)
            return
        seconds = time.perf_counter() - start
        self.slowest = max(self.slowest, seconds)
        self.contexts[name] = contexts[NOW]
        before, current = (contexts[seat].get("kernels") for seat in (THEN, NOW))
        if before != current:
            self.notes[f"{name}: region convolutions use kernels {current} now; {before} at the commit"] = None
        for size in sizes:
            self.cases[name][size].add(samples[size], seconds / len(sizes))
