"""What workers are forked from: a process that has torch loaded and does nothing else, so that a worker costs
milliseconds and not seconds. Linux.

It is not multiprocessing's forkserver, because it has to end whole trees: it adopts what a worker leaves behind
(PR_SET_CHILD_SUBREAPER), kills and reaps that before it reports the worker's end, and when its caller dies by any means
it does so and ends. While it loads torch, and sees nothing, the system kills it with its caller; a worker whose server
dies is killed by the system too (PR_SET_PDEATHSIG). It takes no other order: SIGINT, SIGTERM and SIGHUP, which a
terminal or a service manager may send to every process of a command, are for the command.

No thread of OpenMP or torch ever runs in here: a fork would leave them behind.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import struct
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NoReturn

import psutil

from drbench.workers import child, lifeline

PRELOADED = "drbench.experiment"
"""What takes seconds to import."""

STATUS = struct.Struct("q")
LEFTOVERS_SECONDS = 10.0


def main(descriptor: int, caller: int) -> None:
    """Serve process `caller` until the other end of the socket is closed.

    A request is four descriptors; pid and exit status go back.
    """
    lifeline.follow(caller)
    lifeline.ignore_signals()
    control = socket.socket(fileno=descriptor)
    lifeline.adopt()
    with suppress(Exception):  # a worker that needs it will say why it cannot be loaded
        importlib.import_module(PRELOADED)
    lifeline.follow(caller, signal.SIGCONT)  # from now on the socket says it, unless this process is stopped
    gc.collect()
    gc.freeze()
    own = os.getpid()
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 4)
        if not descriptors:
            return
        pid = os.fork()
        if pid == 0:
            control.close()
            lifeline.follow(own)
            _work(descriptors)
        for one in descriptors:
            os.close(one)
        try:
            control.sendall(STATUS.pack(pid))
            status = _awaited(pid, control)
            _end_leftovers()
            control.sendall(STATUS.pack(status))
        except OSError:  # the caller is gone
            _end_leftovers()
            return


def _work(descriptors: list[int]) -> NoReturn:
    """In the fork: become a worker in a session of its own, with the caller's output."""
    code = 1
    try:
        os.setsid()
        connection, log, out, errors = descriptors
        os.dup2(out, 1)
        os.dup2(errors, 2)
        os.close(out)
        os.close(errors)
        child.serve(Connection(connection), log)
        code = 0
    finally:
        os._exit(code)


def _awaited(pid: int, control: socket.socket) -> int:
    """The exit status of the worker. OSError where the caller went away before."""
    watched = os.pidfd_open(pid)
    try:
        while True:
            ready, _, _ = select.select([watched, control.fileno()], [], [])
            if watched in ready:
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if not control.recv(1):
                raise ConnectionResetError
    finally:
        os.close(watched)


def _end_leftovers() -> None:
    """Kill and reap all that descends from this process: the worker, if it still runs, and what workers left behind."""
    ours, until = psutil.Process(), time.monotonic() + LEFTOVERS_SECONDS
    while (rest := ours.children(recursive=True)) and time.monotonic() < until:
        for process in rest:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.001)
