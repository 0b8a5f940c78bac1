"""What workers are forked from: a process that has torch loaded and does nothing else, so that a worker costs
milliseconds and not seconds. Linux.

It is not multiprocessing's forkserver, because it has to end whole trees: it adopts what a worker leaves behind
(PR_SET_CHILD_SUBREAPER), kills and reaps that before it reports the worker's end, and when its caller dies by any means
it does so and ends. A worker whose server dies is killed by the system (PR_SET_PDEATHSIG).

No thread of OpenMP or torch ever runs in here: a fork would leave them behind.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NoReturn

import psutil

from drbench.workers import child

PRELOADED = "drbench.experiment"
"""What takes seconds to import."""

STATUS = struct.Struct("q")
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LEFTOVERS_SECONDS = 10.0


def main(descriptor: int) -> None:
    """Serve until the other end of the socket is closed. A request is four descriptors; pid and exit status go back."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=descriptor)
    system = ctypes.CDLL(None, use_errno=True)
    system.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with suppress(Exception):  # a worker that needs it will say why it cannot be loaded
        importlib.import_module(PRELOADED)
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
            system.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != own:
                os._exit(1)
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


if __name__ == "__main__":
    main(int(sys.argv[1]))
