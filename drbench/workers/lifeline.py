"""Ends a process with the process that started it, in addition to the sockets and pipes between them. Linux only.

The system sends a signal to a process whose parent has died, also where that process is stopped, or in native code
where it looks at no socket. The tie is to the thread that started it: a process of a thread that ends is left alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
FOR_THE_COMMAND = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
MASKS = hasattr(signal, "pthread_sigmask")


def follow(parent: int, number: int = signal.SIGKILL) -> None:
    """Have the system send a signal to this process when its parent dies; exit where it is dead already."""
    _prctl(PR_SET_PDEATHSIG, number)
    if sys.platform == "linux" and os.getppid() != parent:
        os._exit(1)


def follower() -> Callable[[], None] | None:
    """`follow` this process, for subprocess's `preexec_fn`: all that it needs is loaded before the fork."""
    if sys.platform != "linux":
        return None
    _system()
    return partial(follow, os.getpid())


def adopt() -> None:
    """Be the parent of all that descends from this process and has lost its own."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def ignore_signals() -> None:
    """Leave SIGINT, SIGTERM and SIGHUP to the command. What was started in `blocked` has none of them pending then."""
    for number in FOR_THE_COMMAND:
        signal.signal(number, signal.SIG_IGN)
    if MASKS:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_COMMAND)


@contextmanager
def blocked() -> Iterator[None]:
    """Start processes that have SIGINT, SIGTERM and SIGHUP blocked at first; this process gets them afterwards."""
    if not MASKS:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_COMMAND)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def tie_forks() -> None:
    """Kill with this process what it forks from its main thread: loader workers, pools."""
    if sys.platform != "linux":
        return
    _system()
    parent, in_main = 0, False

    def before() -> None:
        nonlocal parent, in_main
        parent, in_main = os.getpid(), threading.current_thread() is threading.main_thread()

    def after() -> None:
        if in_main:
            follow(parent)

    os.register_at_fork(before=before, after_in_child=after)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _system().prctl(option, value, 0, 0, 0)


@cache
def _system() -> Any:
    return ctypes.CDLL(None, use_errno=True)
