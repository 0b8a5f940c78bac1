"""What a stage of a suite defines: its work, how the work is done, and how a record of it reads in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from drbench.executor import Executor, Limits, OnEvent
from drbench.records import DataSettings, Experiment, LatencySettings, Record, TrainSettings, Variant

Row = tuple[Variant, str]
"""A network and what reports call it."""


@dataclass(frozen=True)
class Asked:
    """What a suite asks for.

    groups: the networks by architecture, in the order of the suite.
    ours: hashes of those that belong to this shard; the others are there to be compared with.
    seeds: trainings of each network.
    eval_weights: a model file that is evaluated instead of training.
    """

    groups: Mapping[str, Sequence[Row]]
    ours: Set[str]
    data: DataSettings
    train: TrainSettings
    latency: LatencySettings
    seeds: int = 1
    eval_weights: str | None = None

    @property
    def rows(self) -> list[Row]:
        """The networks of this shard."""
        from drbench.identity import variant_hash

        return [row for group in self.groups.values() for row in group if variant_hash(row[0]) in self.ours]


@dataclass(frozen=True)
class WorkContext:
    """Where and within which limits work is done.

    workdir: for checkpoints, weights and tracebacks.
    skip: keys of work that is not done again.
    """

    executor: Executor
    limits: Limits
    workdir: Path
    skip: Set[str]
    on_event: OnEvent


@dataclass(frozen=True)
class Stage:
    """One stage.

    plan: what is asked for -> the stage's Experiments, in order.
    measure: does an Experiment; one Record for each variant whose key is not in `WorkContext.skip`.
    line: a Record that is done -> its result in one line.
    seeded: done once for each seed.
    with_table: the costs of all its records are shown as a table as soon as it is over.
    announced: each Experiment is announced on a line when it begins, because it takes minutes.
    """

    plan: Callable[[Asked], Iterator[Experiment]]
    measure: Callable[[Experiment, WorkContext], Iterator[Record]]
    line: Callable[[Record], str]
    seeded: bool = False
    with_table: bool = False
    announced: bool = False
