"""The interface between a run and the processes or machines that do its work.

`drbench.workers.Workers` is the executor of one machine. Work is a function by name ("package.module:callable") with
its arguments. A failure is returned as a reason and never ends the caller.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from drbench.errors import FailedError
from drbench.records import Event, Machine

OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Default event handler: discards events."""


@dataclass(frozen=True)
class Limits:
    """Limits per piece of work: wall time in seconds, memory of its process and children in bytes. None: no limit."""

    seconds: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Ended:
    """How work ended: "done" (with `value`), "failed" (the function raised), "crashed" (a signal, an exit), "oom"
    (host or device memory) or "timeout". `reason` is one line; `traceback` has many lines, or is empty.

    error: the exception, if the caller can handle it: an error of drbench, a full disk.
    peak_memory: peak resident memory of the process and its children in bytes, sampled every 50 ms.
    seconds: wall time of the call.
    machine: the machine that did the work; None: the machine of the caller.
    """

    status: str
    value: Any = None
    reason: str = ""
    traceback: str = ""
    peak_memory: int = 0
    seconds: float = 0.0
    error: Exception | None = None
    machine: Machine | None = None

    def value_of(self, what: str) -> Any:
        """The value; raises the failure if there is none. For work that does not belong to a variant.

        Raises:
            DrbenchError, OSError: `error`.
            FailedError: the process crashed, ran out of memory or time; the message begins with `what`.
            RuntimeError: any other exception of the function, with its traceback as a note.
        """
        if self.status == "done":
            return self.value
        if self.error is not None:
            raise self.error
        if self.status != "failed":
            raise FailedError(f"{what} failed: {self.status}: {self.reason}")
        error = RuntimeError(f"{what} failed: {self.reason}")
        error.add_note(self.traceback)
        raise error


class Future(Protocol):
    """Work that was submitted to an executor."""

    def result(self) -> Ended:
        """Wait for the work and return how it ended. An interrupt of the wait ends the work first."""


class Executor(ABC):
    """Does work. The function is called as `function(*arguments, say=...)`; `say` passes Events to `on_event`."""

    @abstractmethod
    def submit(
        self, function: str, *arguments: Any, limits: Limits | None = None, on_event: OnEvent = ignore
    ) -> Future:
        """Submit a call of `function`. Arguments and return value are pickled."""

    def run(self, function: str, *arguments: Any, limits: Limits | None = None, on_event: OnEvent = ignore) -> Ended:
        """Call `function` and wait for it."""
        return self.submit(function, *arguments, limits=limits, on_event=on_event).result()
