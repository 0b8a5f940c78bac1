"""The metrics of the gate: what is measured of any network, and the figures that the run's task declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from drbench.errors import unknown
from drbench.figures import Figure, TaskFigures


@dataclass(frozen=True)
class Metric:
    """One metric.

    `stage`: whose records it is taken from. `title`: what reports of a check call it. `limit`: how much worse is no
    regression where nothing else is asked for: a share of the reference, of a task's `figure` a difference.
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
    """The metric that a declared figure is."""
    return Metric(figure.name, "train", figure.called, 0.0, figure)


def of_task(task: TaskFigures) -> dict[str, Metric]:
    """All metrics of a task, by name: COMMON, the headline, the other figures."""
    figures = (task.main, *(figure for figure in task.figures if figure is not task.main))
    return {**COMMON, **{figure.name: of_figure(figure) for figure in figures}}


def usual(task: TaskFigures) -> tuple[str, ...]:
    """The metrics that are compared where none are asked for."""
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
