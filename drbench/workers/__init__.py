"""Work in processes of its own: what crashes, hangs or eats the memory there ends as a reason, never as our end.

    with Workers() as workers:
        ended = workers.run("drbench.experiment:cost", job, limits=Limits(seconds=60))
        if ended.status == "done":
            ended.value

The function is called as `function(*arguments, say=...)` in a fresh process; arguments and value are pickled, `say`
hands Events back while it works.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from drbench.names import load
from drbench.records import Event

OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Limits:
    """Of one worker: wall time in seconds, and memory in bytes of it and its children; None: no limit."""

    seconds: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Ended:
    """How a worker ended: "done" (with `value`), "failed" (the function raised), "crashed" (a signal, an exit), "oom"
    (host or device memory) or "timeout". `reason` says it in one line, `traceback` at length where there is one.
    """

    status: str
    value: Any = None
    reason: str = ""
    traceback: str = ""
    peak_memory: int = 0
    seconds: float = 0.0


class Workers:
    """Starts workers, one at a time. A context manager: nothing that it started outlives it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def run(
        self, function: str, *arguments: Any, limits: Limits | None = None, on_event: OnEvent = lambda event: None
    ) -> Ended:
        """Call `function` ("package.module:callable") in a worker and wait for it."""
        # For now in this process.
        try:
            return Ended("done", load("worker", function)(*arguments, say=on_event))
        except Exception as error:
            return Ended("failed", reason=f"{type(error).__name__}: {error}")
