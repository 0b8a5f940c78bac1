"""Where work is done: the interface between what a run does and the processes or machines that do it.

`drbench.workers.Workers` is the executor of one machine. Work is a function by name ("package.module:callable") with
its arguments. What goes wrong in it is returned as a reason and never ends the caller.
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
    """Limits of one piece of work: seconds of wall time, bytes of memory of its process and children. None: none."""

    seconds: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Ended:
    """How work ended: "done" (with `value`), "failed" (the function raised), "crashed" (a signal, an exit), "oom"
    (host or device memory) or "timeout". `reason` is one line; `traceback` is long, where there is one.

    error: what was raised, where that means something to the caller: one of drbench's own errors, a full disk.
    peak_memory: the most bytes that were resident in the process and its children, sampled every 50 ms.
    seconds: wall time of the call.
    machine: where it was done; None: on the machine of the caller.
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
        """The value. Where there is none, and no variant that could be charged with the failure, it is raised.

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
    """Work that was handed to an executor."""

    def result(self) -> Ended:
        """Wait for the work and return how it ended. An interrupt of the wait ends the work first."""


class Executor(ABC):
    """Does work. The function is called as `function(*arguments, say=...)`; `say` passes Events to `on_event`."""

    @abstractmethod
    def submit(
        self, function: str, *arguments: Any, limits: Limits | None = None, on_event: OnEvent = ignore
    ) -> Future:
        """Hand over a call of `function`. Arguments and value are pickled."""

    def run(self, function: str, *arguments: Any, limits: Limits | None = None, on_event: OnEvent = ignore) -> Ended:
        """Call `function` and wait for it."""
        return self.submit(function, *arguments, limits=limits, on_event=on_event).result()
