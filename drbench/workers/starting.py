"""How a worker is started: forked by the server on Linux; a fresh Python where a fork is not to be trusted."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import IO, Any, Self

import psutil

from drbench import interrupts
from drbench.errors import FailedError
from drbench.workers import child, lifeline

FORKS = sys.platform == "linux" and hasattr(os, "pidfd_open")
MOMENT = 2.0
"""Seconds that a server has to end its worker and itself."""

STILL = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
"""Of a process that forks no more."""

AT_LOAD = (
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "OPENBLAS_",
    "LD_",
    "PYTHON",
    "TORCH",
    "PYTORCH",
    "CUDA",
    "ATEN_",
    "DRBENCH",
)
"""Variables that libraries read when they are loaded: a server that was started under others cannot be used."""


class Worker(ABC):
    """One worker, from its start to its end. A context manager: it, and all it started, is gone afterwards."""

    pid: int
    connection: Connection
    waitables: list[Any]

    def __init__(self) -> None:
        self.ended: int | None = None
        self.output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed in __exit__

    @abstractmethod
    def status(self) -> int | None:
        """Exit code, or the negative number of the signal that ended it; None while it runs."""

    @abstractmethod
    def kill(self) -> None:
        """End it and its children at once."""

    def ask(self, request: child.Request) -> None:
        """Hand it its request."""
        with suppress(BrokenPipeError):  # it is dead: its status says why
            self.connection.send(request)

    def messages(self) -> Iterator[Any]:
        """What has come from it since the last time; nothing more where it died within a message."""
        with suppress(EOFError, OSError):
            while self.connection.poll():
                yield self.connection.recv()

    def say_where(self) -> None:
        """Have it write to its log where it is, thread by thread."""
        if hasattr(signal, "SIGUSR1"):
            with suppress(OSError):
                os.kill(self.pid, signal.SIGUSR1)
            time.sleep(0.1)

    def log(self) -> str:
        """What it wrote of its end."""
        self.output.seek(0)
        return self.output.read().decode(errors="replace")

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self.kill()
        while self.status() is None:
            time.sleep(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with interrupts.shielded:
            try:
                if self.status() is None:
                    self.end()
            finally:
                self.connection.close()
                self.output.close()


class Server:
    """The process that workers are forked from (see drbench.workers.server)."""

    def __init__(self) -> None:
        self.environment = _at_load()
        self.control, theirs = socket.socketpair()
        self.worker: Forked | None = None
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from drbench.workers.server import main; "
            f"main({theirs.fileno()}, {os.getpid()})"
        )
        with theirs, lifeline.blocked():
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                preexec_fn=lifeline.follower(),  # before Python starts: it may be stopped while it does
            )

    def fits(self) -> bool:
        """Whether it is alive and was started under the same variables."""
        return self.process.poll() is None and self.environment == _at_load()

    def stop(self) -> None:
        """End it, and with it its worker. Without one it has nothing to clear up, and may still be loading torch."""
        if self.worker is None or self.worker.ended is not None:
            self._kill()
        self.control.close()
        try:
            self.process.wait(timeout=MOMENT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _kill(self) -> None:
        """Kill it, and a worker that it has forked and not reported, which may not be tied to it yet.

        It is stopped first: what is stopped forks nothing.
        """
        with suppress(psutil.NoSuchProcess):
            server, until = psutil.Process(self.process.pid), time.monotonic() + MOMENT
            server.suspend()
            while server.status() not in STILL and time.monotonic() < until:
                time.sleep(0.001)
            for process in server.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.kill()


class Forked(Worker):
    """A worker of the server."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server
        self.connection, theirs = multiprocessing.Pipe()
        try:
            with theirs:
                self.pid = self._forked(theirs)
        except BaseException:
            server.stop()  # its answer may still be to come, and nobody would know whose it is
            self.connection.close()
            self.output.close()
            raise
        self.waitables = [self.connection, server.control]
        server.worker = self

    def _forked(self, theirs: Connection) -> int:
        with open(os.devnull, "wb") as nowhere:
            outputs = [one if _takes_output(one) else nowhere.fileno() for one in (1, 2)]
            try:
                socket.send_fds(self.server.control, [b"!"], [theirs.fileno(), self.output.fileno(), *outputs])
                answer = self.server.control.recv(8)
            except OSError:
                answer = b""
        if len(answer) < 8:
            raise FailedError("the process that workers are forked from ended; its output is above")
        return int.from_bytes(answer, sys.byteorder)

    def status(self) -> int | None:
        """See Worker."""
        if self.ended is None and multiprocessing.connection.wait([self.server.control], 0):
            try:
                answer = self.server.control.recv(8)
            except OSError:
                answer = b""
            if not answer:  # the server was killed, and the system has killed the worker with it
                self.kill()
            self.ended = int.from_bytes(answer, sys.byteorder, signed=True) if answer else -signal.SIGKILL
        return self.ended

    def kill(self) -> None:
        """See Worker; the server kills the rest of the tree when the worker is dead."""
        for send in (os.killpg, os.kill):  # it may not have come to be the leader of its group yet
            with suppress(OSError):
                send(self.pid, signal.SIGKILL)


class Spawned(Worker):
    """A worker that is a Python of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.connection, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=_spawned, args=(theirs,), daemon=False)
        with lifeline.blocked():
            self.process.start()
        theirs.close()
        assert self.process.pid is not None
        self.pid = self.process.pid
        self.waitables = [self.connection, self.process.sentinel]

    def status(self) -> int | None:
        """See Worker."""
        return self.process.exitcode

    def kill(self) -> None:
        """See Worker."""
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.kill()


def _spawned(connection: Connection) -> None:
    import threading

    parent = multiprocessing.parent_process()
    assert parent is not None

    def die_with_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=die_with_it, daemon=True).start()
    child.serve(connection, -1)
    os._exit(0)


_server: Server | None = None


def start() -> Worker:
    """A worker that waits for its request."""
    server = warm_up()
    return Spawned() if server is None else Forked(server)


def warm_up() -> Server | None:
    """Start the server if there is none; it loads torch meanwhile. None where workers are not forked."""
    global _server
    if not FORKS:
        return None
    if _server is None or not _server.fits():
        stop()
        _server = Server()
    return _server


@atexit.register
def stop() -> None:
    """End the server, if there is one."""
    global _server
    with interrupts.shielded:
        if _server is not None:
            _server.stop()
            _server = None


def _at_load() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key.startswith(AT_LOAD)}


def _takes_output(descriptor: int) -> bool:
    """False for one that is closed, and for a terminal that is gone."""
    try:
        os.write(descriptor, b"")
    except OSError:
        return False
    return True
