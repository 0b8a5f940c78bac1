"""The loop over a suite's stages: Experiments -> Records, without the work that is already done."""

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
"""Share of the free memory that a worker may use if the suite sets no limit."""


def limits_of(table: LimitsTable) -> Limits:
    """Limits per worker: the suite's, or 90% of the memory that is free now, and no timeout."""
    memory = int(FREE_SHARE * free()) if table.memory_gib is None else int(table.memory_gib * 2**30)
    return Limits(table.timeout_seconds, memory)


@dataclass(frozen=True)
class Loop:
    """The work of a suite.

    files: folder of the run's files.
    done, lost: keys of work that was done, and that failed, before; it is not repeated. `counts` counts it.
    """

    suite: Suite
    files: Path
    executor: Executor
    done: Set[str]
    lost: Set[str]
    counts: Counts
    on_event: OnEvent

    def records(self, work: Sequence[Experiment]) -> Iterator[Record]:
        """Do the work stage by stage. Widths of matched networks come first: they are part of a variant."""
        work = yield from widths.find(work, self.suite, self._context, self.lost, self.counts)
        self._build_kernels(work)
        for name, stage in STAGES.items():
            todo = [experiment for experiment in work if experiment.stage == name]
            if not todo:
                continue
            self.on_event(Event("stage", name, 0, len(todo)))
            records: list[Record] = []
            for number, experiment in enumerate(todo):
                if not self._is_left(experiment):
                    continue
                self.on_event(Event("stage", name, number, len(todo), payload=experiment))
                for record in stage.measure(experiment, self._context(_folder(experiment))):
                    records.append(record)
                    yield record
            self.on_event(Event("stage", name, len(todo), len(todo)))
            if stage.with_table:
                published = references({table.name for table in self.suite.architectures}, self.suite.references)
                self.on_event(Event("table", name, payload=(tuple(records), published)))

    def _context(self, folder: str) -> WorkContext:
        limits = limits_of(self.suite.limits)
        return WorkContext(self.executor, limits, self.files / folder, self.done | self.lost, self.on_event)

    def _is_left(self, experiment: Experiment) -> bool:
        """Whether an Experiment has work that is not done yet. Counts the work that is not repeated."""
        keys = _keys(experiment)
        self.counts.skipped += sum(key in self.done for key in keys)
        self.counts.lost += sum(key in self.lost for key in keys)
        return not keys <= self.done | self.lost

    def _build_kernels(self, work: Sequence[Experiment]) -> None:
        """Build the kernels before any timing or training, for the Experiments that are not done yet."""
        measured = [experiment for experiment in work if experiment.latency or experiment.train]
        todo = [experiment for experiment in measured if not _keys(experiment) <= self.done | self.lost]
        if todo:
            ended = self.executor.run("drbench.experiment:build_kernels", todo, on_event=self.on_event)
            ended.value_of("building the kernels")


def _keys(experiment: Experiment) -> set[str]:
    return {experiment_key(experiment, variant) for variant in experiment.variants}


def _folder(experiment: Experiment) -> str:
    """The name of the folder for an Experiment's checkpoints, weights and tracebacks."""
    name = variant_hash(experiment.variants[0])
    return name if experiment.seed is None else f"{name}-s{experiment.seed}"
