"""The loop over a suite's stages: each Experiment in turn, without the work that is done -> Records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from drbench.executor import Executor, Limits, OnEvent
from drbench.identity import experiment_key, variant_hash
from drbench.published import references
from drbench.records import Event, Experiment, Record
from drbench.run import widths
from drbench.run.session import Counts
from drbench.stages import STAGES, WorkContext
from drbench.suite.tables import LimitsTable, Suite
from drbench.workers.watch import free

FREE_SHARE = 0.9
"""Share of the free memory that a worker may hold unless the suite says otherwise."""


def limits_of(table: LimitsTable) -> Limits:
    """Limits per worker: the suite's, or 90% of the memory that is free now and no timeout."""
    memory = int(FREE_SHARE * free()) if table.memory_gib is None else int(table.memory_gib * 2**30)
    return Limits(table.timeout_seconds, memory)


@dataclass(frozen=True)
class Loop:
    """What all work of a suite shares. `done`, `lost`: keys of work that is not done again; `counts` counts it."""

    suite: Suite
    files: Path
    executor: Executor
    done: Set[str]
    lost: Set[str]
    counts: Counts
    on_event: OnEvent

    def records(self, work: Sequence[Experiment]) -> Iterator[Record]:
        """Stage by stage. The widths of matched networks are found first: they are part of what a variant is."""
        work = yield from widths.find(work, self.suite, self._context, self.lost, self.counts)
        self._build_kernels(work)
        for name, stage in STAGES.items():
            todo = [one for one in work if one.stage == name]
            if not todo:
                continue
            self.on_event(Event("stage", name, 0, len(todo)))
            made: list[Record] = []
            for number, one in enumerate(todo):
                if not self._is_left(one):
                    continue
                self.on_event(Event("stage", name, number, len(todo), payload=one))
                for record in stage.measure(one, self._context(_folder(one))):
                    made.append(record)
                    yield record
            self.on_event(Event("stage", name, len(todo), len(todo)))
            if stage.with_table:
                shown = references({table.name for table in self.suite.architectures}, self.suite.references)
                self.on_event(Event("table", name, payload=(tuple(made), shown)))

    def _context(self, folder: str) -> WorkContext:
        limits = limits_of(self.suite.limits)
        return WorkContext(self.executor, limits, self.files / folder, self.done | self.lost, self.on_event)

    def _is_left(self, one: Experiment) -> bool:
        """Whether some of an Experiment is to be done; what is not is counted."""
        keys = _keys(one)
        self.counts.skipped += sum(key in self.done for key in keys)
        self.counts.lost += sum(key in self.lost for key in keys)
        return not keys <= self.done | self.lost

    def _build_kernels(self, work: Sequence[Experiment]) -> None:
        """Before anything is timed or trained, and only where that is still to be done."""
        todo = [one for one in work if (one.latency or one.train) and not _keys(one) <= self.done | self.lost]
        if todo:
            ended = self.executor.run("drbench.experiment:build_kernels", todo, on_event=self.on_event)
            ended.value_of("building the kernels")


def _keys(one: Experiment) -> set[str]:
    return {experiment_key(one, variant) for variant in one.variants}


def _folder(one: Experiment) -> str:
    """The folder of its checkpoints, weights and tracebacks."""
    name = variant_hash(one.variants[0])
    return name if one.seed is None else f"{name}-s{one.seed}"
