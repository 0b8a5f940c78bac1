"""Work in processes of its own: what crashes, hangs or eats the memory there ends as a reason, never as our end.

    with Workers() as workers:
        ended = workers.run("drbench.experiment:count_cost", job, limits=Limits(seconds=60))
        if ended.status == "done":
            ended.value

The function is called as `function(*arguments, say=...)` in a fresh process that knows the caller's directory,
environment and sys.path; arguments and value are pickled, `say` hands Events back while it works.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Self

from drbench.executor import Ended, Executor, Limits, OnEvent, ignore
from drbench.records import Event
from drbench.workers import endings, lifeline
from drbench.workers.child import Answer, Request
from drbench.workers.starting import Worker, start, warm_up
from drbench.workers.watch import MemoryWatch

PERIOD = 0.05
"""Seconds between two looks at a worker's memory and time."""
SIGNALLED = 0.3
"""Seconds to wait after a signal ended a worker: a service manager sends it to all processes of a command, and if this
process is about to get it too, that is an interrupt and no failure of the worker."""


class Workers(Executor):
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

    def submit(
        self, function: str, *arguments: Any, limits: Limits | None = None, on_event: OnEvent = ignore
    ) -> Submitted:
        """See Executor. The work begins when its result is asked for: never two at once, so none disturbs a timing."""
        return Submitted(function, arguments, limits or Limits(), on_event)


@dataclass(frozen=True)
class Submitted:
    """Work that a worker will do when its result is asked for."""

    function: str
    arguments: tuple[Any, ...]
    limits: Limits
    on_event: OnEvent

    def result(self) -> Ended:
        """Start a worker and wait for it. Whatever interrupts the wait (Ctrl-C, an error of `on_event`) ends it."""
        with start() as worker:
            worker.ask(Request.of(self.function, self.arguments, self.limits.memory_bytes))
            return _await(worker, self.limits, self.on_event)


def _await(worker: Worker, limits: Limits, on_event: OnEvent) -> Ended:
    began, watch, kills = time.monotonic(), MemoryWatch(worker.pid), endings.oom_kills()
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
