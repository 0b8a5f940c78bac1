"""Work in processes of its own: what crashes, hangs or eats the memory there ends as a reason, never as our end.

    with Workers() as workers:
        ended = workers.run("drbench.experiment:cost", job, limits=Limits(seconds=60))
        if ended.status == "done":
            ended.value

The function is called as `function(*arguments, say=...)` in a fresh process that knows the caller's directory,
environment and sys.path; arguments and value are pickled, `say` hands Events back while it works.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Self

from drbench.records import Event
from drbench.workers import endings, lifeline
from drbench.workers.child import Answer, Request
from drbench.workers.starting import Worker, start, warm_up
from drbench.workers.watch import Watch

OnEvent = Callable[[Event], None]
PERIOD = 0.05
"""Seconds between two looks at a worker's memory and time."""
SIGNALLED = 0.3
"""Seconds to wait after a signal ended a worker: a service manager sends it to all processes of a command, and if this
process is about to get it too, that is an interrupt and no failure of the worker."""


@dataclass(frozen=True)
class Limits:
    """Of one worker: wall time in seconds, and memory in bytes of it and its children; None: no limit."""

    seconds: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Ended:
    """How a worker ended: "done" (with `value`), "failed" (the function raised), "crashed" (a signal, an exit), "oom"
    (host or device memory) or "timeout". `reason` says it in one line, `traceback` at length where there is one.

    `error` is what was raised, where that means something to the caller: one of drbench's own errors, a full disk.
    `peak_memory`: the most bytes that were resident in it and its children, as far as one look in 50 ms sees.
    `seconds`: wall time of the call.
    """

    status: str
    value: Any = None
    reason: str = ""
    traceback: str = ""
    peak_memory: int = 0
    seconds: float = 0.0
    error: Exception | None = None


class Workers:
    """Starts workers, one at a time. A context manager: no worker outlives it.

    What workers are forked from stays for the next Workers of this process, and ends with the process.
    """

    def __enter__(self) -> Self:
        warm_up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def run(
        self, function: str, *arguments: Any, limits: Limits | None = None, on_event: OnEvent = lambda event: None
    ) -> Ended:
        """Call `function` ("package.module:callable") in a worker and wait for it.

        Whatever interrupts the wait (Ctrl-C, an error of `on_event`) ends the worker first.
        """
        limits = limits or Limits()
        with start() as worker:
            worker.ask(Request.of(function, arguments, limits.memory_bytes))
            return _await(worker, limits, on_event)


def _await(worker: Worker, limits: Limits, on_event: OnEvent) -> Ended:
    began, watch, kills = time.monotonic(), Watch(worker.pid), endings.oom_kills()
    answer: Answer | None = None
    stopped = ""
    status = None
    while status is None:
        wait(worker.waitables, timeout=PERIOD)
        status = worker.status()  # before the messages: what it said last is then among them
        for message in worker.messages():
            if isinstance(message, Event):
                on_event(message)
            else:
                answer = message
        if status is not None or stopped:
            continue
        held = watch.look(exact_above=limits.memory_bytes)
        if limits.memory_bytes is not None and held > limits.memory_bytes:
            stopped = "oom"
            worker.kill()
        elif limits.seconds is not None and time.monotonic() - began > limits.seconds:
            stopped = "timeout"
            worker.say_where()
            worker.kill()
    ended = _ended(worker, status, answer, stopped, limits, kills)
    return replace(ended, peak_memory=watch.peak, seconds=time.monotonic() - began)


def _ended(worker: Worker, status: int, answer: Answer | None, stopped: str, limits: Limits, kills: int) -> Ended:
    if answer is not None:
        return Ended(answer.status, answer.value, answer.reason, answer.traceback, error=answer.error)
    if stopped == "oom":
        return Ended("oom", reason=endings.memory(limits.memory_bytes or 0))
    if stopped == "timeout":
        return Ended("timeout", reason=endings.time(limits.seconds or 0), traceback=worker.log())
    if -status in lifeline.FOR_THE_COMMAND:
        time.sleep(SIGNALLED)
    kind, reason = endings.crash(status, oom=endings.oom_kills() > kills)
    return Ended(kind, reason=reason, traceback=worker.log())
