"""The metrics of the gate: those of every network, and the figures that the run's task declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from drbench.errors import unknown
from drbench.figures import Figure, TaskFigures


@dataclass(frozen=True)
class Metric:
    """One metric.

    stage: the stage whose records have it.
    title: its name in reports of a check.
    limit: the default limit: relative to the reference, or a difference for a task's `figure`.
    """

    name: str
    stage: str
    title: str
    limit: float
    figure: Figure | None = None


COMMON: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("costs", "cost", "costs", 0.0),
        Metric("latency", "latency", "latency", 0.02),
        Metric("memory", "memory", "peak memory", 0.05),
    )
}
"""The metrics of every task, by name."""


def of_figure(figure: Figure) -> Metric:
    """The metric of a declared figure."""
    return Metric(figure.name, "train", figure.called, 0.0, figure)


def of_task(task: TaskFigures) -> dict[str, Metric]:
    """All metrics of a task, by name: COMMON, the headline, the other figures."""
    figures = (task.main, *(figure for figure in task.figures if figure is not task.main))
    return {**COMMON, **{figure.name: of_figure(figure) for figure in figures}}


def usual(task: TaskFigures) -> tuple[str, ...]:
    """The metrics that are compared by default."""
    return (*COMMON, task.headline)


def stage(name: str) -> str:
    """The stage of a metric, whatever the task."""
    return COMMON[name].stage if name in COMMON else "train"


def check(names: Iterable[str], task: TaskFigures) -> tuple[str, ...]:
    """The names, in the order of `of_task`. InputError for one that the task does not have."""
    known, wanted = of_task(task), tuple(names)
    for name in wanted:
        if name not in known:
            raise unknown("metric", name, known)
    return tuple(name for name in known if name in wanted)
