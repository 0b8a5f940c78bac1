"""What happens in a worker: a request comes in, the function is called, its Events and then one Answer go out."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from drbench import streams
from drbench.errors import FAILED, USAGE, DrbenchError, FailedError, InputError
from drbench.text import CURSOR
from drbench.workers import endings, lifeline


@dataclass(frozen=True)
class Request:
    """What to call, and where: a worker is in the caller's place, whenever its server was started."""

    function: str
    arguments: bytes
    memory_bytes: int | None
    directory: str = field(default_factory=os.getcwd)
    path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @classmethod
    def of(cls, function: str, arguments: tuple[Any, ...], memory_bytes: int | None) -> Self:
        """Of arguments as they are; they are unpickled where the caller's modules can be found."""
        return cls(function, pickle.dumps(arguments), memory_bytes)


@dataclass(frozen=True)
class Answer:
    """As the fields of `Ended`."""

    status: str
    value: Any = None
    reason: str = ""
    traceback: str = ""
    error: Exception | None = None


def serve(connection: Connection, log: int) -> None:
    """Answer one request. `log`: a file's descriptor for what is to be known of a crash or a hang."""
    lifeline.ignore_signals()  # the caller ends this
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    lifeline.tie_forks()
    if log >= 0:
        faulthandler.enable(log)
        if hasattr(faulthandler, "register"):
            faulthandler.register(signal.SIGUSR1, log)
    with contextlib.suppress(OSError):  # where memory runs out, the system is to take this first
        Path("/proc/self/oom_score_adj").write_text("1000")
    request: Request = connection.recv()
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.directory)
    sys.path[:] = request.path
    streams.set_up(CURSOR)  # what a user's module or a download prints may move the cursor, and do nothing worse
    _limit(request.memory_bytes)
    answer = _called(request, connection.send)
    try:
        connection.send(answer)
    except Exception as error:  # it cannot be pickled
        connection.send(_failure(error))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _called(request: Request, say: Any) -> Answer:
    module, _, name = request.function.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
        return Answer("done", function(*pickle.loads(request.arguments), say=say))
    except BaseException as error:  # sys.exit() in a user's module is no reason to leave without a word
        return _failure(error)


def _failure(error: BaseException) -> Answer:
    reason = " ".join(str(error).split()) or "no message"
    own = _own(error)
    kind = "" if own is not None else f"{type(error).__name__}: "
    text = "".join(traceback.format_exception(error))
    meant = endings.disk_full(error) or (own if own is not None and _travels(own) else None)
    return Answer(endings.raised(error), None, f"{kind}{reason}", text, meant)


def _own(error: BaseException) -> DrbenchError | None:
    """One of drbench's errors; those of drbench_kernels, which knows no drbench, by the exit code that they name."""
    if isinstance(error, DrbenchError):
        return error
    kinds: dict[object, type[DrbenchError]] = {USAGE: InputError, FAILED: FailedError}
    kind = kinds.get(getattr(error, "exit_code", None))
    return None if kind is None else kind(str(error))


def _travels(error: Exception) -> bool:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its own constructor or fields make of it: its words travel all the same
        return False
    return True


def _limit(memory_bytes: int | None) -> None:
    """A second line behind the watch, for what allocates faster than it looks: no data beyond the limit and a quarter.

    Data is private writable memory, whether touched or not, so this is wider than the limit by as much as threads and
    allocators set aside. Linux alone counts it so; a CUDA driver reserves what it likes, and is left to the watch.
    """
    if memory_bytes is None or sys.platform != "linux" or Path("/dev/nvidiactl").exists():
        return
    import resource

    text = Path("/proc/self/status").read_text()
    own = next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("VmData:"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = own + max(memory_bytes * 5 // 4, memory_bytes + 2**30)
    if hard == resource.RLIM_INFINITY or wanted < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
