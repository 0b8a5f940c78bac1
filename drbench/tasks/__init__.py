"""Tasks: what a network is trained for and judged by. One file per task; TASKS is the registry."""

from __future__ import annotations

from collections.abc import Mapping

from drbench.errors import InputError
from drbench.names import resolve
from drbench.tasks.classify import Classify
from drbench.tasks.segment import Segment
from drbench.tasks.task import Batch, Predictions, Task
from drbench.tasks.verify import Verify

TASKS: Mapping[str, type[Task]] = {"classify": Classify, "verify": Verify, "segment": Segment}
"""Name -> class. The figures of each are in `drbench.figures.BUILT_IN`, for programs without torch."""

__all__ = ["TASKS", "Batch", "Classify", "Predictions", "Segment", "Task", "Verify", "task_named"]


def task_named(name: str) -> type[Task]:
    """The task of this name, or package.module:callable. InputError for one that is unknown or no subclass of Task."""
    found = resolve("task", name, TASKS)
    if not isinstance(found, type) or not issubclass(found, Task):
        raise InputError(f"task {name!r}: got a {type(found).__name__}; expected a subclass of drbench.tasks.Task")
    if missing := sorted(found.__abstractmethods__):
        raise InputError(f"task {name!r}: got a class without {' and '.join(missing)}; expected losses and predict")
    return found
