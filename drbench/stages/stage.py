"""The interface of a stage: the planning of its work, the function that does it, and a one-line text of a record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from drbench.executor import Executor, Limits, OnEvent
from drbench.records import DataSettings, Experiment, LatencySettings, Record, TrainSettings, Variant

Row = tuple[Variant, str]
"""A network and its label."""


@dataclass(frozen=True)
class Request:
    """What a suite requests of its stages.

    groups: the networks by architecture, in the order of the suite.
    in_shard: hashes of the variants of this shard; the others are references for comparisons.
    seeds: number of trainings of each network.
    eval_weights: path of a model file that is evaluated instead of training.
    """

    groups: Mapping[str, Sequence[Row]]
    in_shard: Set[str]
    data: DataSettings
    train: TrainSettings
    latency: LatencySettings
    seeds: int = 1
    eval_weights: str | None = None

    @property
    def rows(self) -> list[Row]:
        """The networks of this shard."""
        from drbench.identity import variant_hash

        return [row for group in self.groups.values() for row in group if variant_hash(row[0]) in self.in_shard]


@dataclass(frozen=True)
class WorkContext:
    """The executor, limits and folder of an Experiment.

    limits: per worker.
    workdir: for checkpoints, weights and tracebacks.
    skip: keys of work that is not repeated.
    """

    executor: Executor
    limits: Limits
    workdir: Path
    skip: Set[str]
    on_event: OnEvent


@dataclass(frozen=True)
class Stage:
    """One stage.

    plan: returns the stage's Experiments for a request, in order.
    measure: does an Experiment; yields one Record for each variant whose key is not in `WorkContext.skip`.
    line: the result of a Record of status "done" in one line of text.
    seeded: whether the work is done once per seed.
    with_table: whether a table of the costs of all its records is printed at its end.
    announced: whether a line is printed when an Experiment begins, because it takes minutes.
    """

    plan: Callable[[Request], Iterator[Experiment]]
    measure: Callable[[Experiment, WorkContext], Iterator[Record]]
    line: Callable[[Record], str]
    seeded: bool = False
    with_table: bool = False
    announced: bool = False
