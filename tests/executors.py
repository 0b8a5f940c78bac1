"""An executor that calls functions in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from drbench import identity
from drbench.executor import Ended, Executor, Limits, OnEvent, ignore
from drbench.names import load
from drbench.records import Experiment, Record
from drbench.stages import STAGES, WorkContext


class Here(Executor):
    """Runs work when it is submitted, without a process; what the function raises is raised here."""

    def submit(self, function: str, *arguments: Any, limits: Limits | None = None, on_event: OnEvent = ignore) -> Any:
        called: Callable[..., Any] = load("function", function)  # type: ignore[assignment]
        return _Done(Ended("done", called(*arguments, say=on_event)))


class _Done:
    def __init__(self, ended: Ended) -> None:
        self.ended = ended

    def result(self) -> Ended:
        return self.ended


def record_of(experiment: Experiment, workdir: Path, say: OnEvent = ignore, executor: Executor | None = None) -> Record:
    """The Record of an experiment with one variant, by the way that a run takes."""
    one = replace(experiment, labels=experiment.labels or identity.labels(experiment.variants))
    context = WorkContext(executor or Here(), Limits(), workdir, frozenset(), say)
    (record,) = STAGES[one.stage].measure(one, context)
    return record
