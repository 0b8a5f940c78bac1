"""Lets residents take turns: one network per process; one process runs at a time, the others wait in a read.

A Side is a Python process with the code of one commit (or of the working tree). The residents of a block are forked
from it and end with the block.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from drbench import interrupts
from drbench.against.side import NUMBER, PROTOCOL
from drbench.errors import FailedError, InputError
from drbench.latency import busy, turns
from drbench.latency.turns import Samples
from drbench.workers.lifeline import follower

BOOT = Path(__file__).with_name("boot.py")
WARM = 6
"""Warm-up calls of each network, in addition to the very first."""


@dataclass(frozen=True)
class Place:
    """The directory, interpreter and environment of a side. `moved`: repository and worktree, to redirect imports."""

    name: str
    directory: Path
    python: str = sys.executable
    moved: tuple[str, str] | None = None
    environment: Mapping[str, str] | None = None


class Side:
    """The server of one side. A context manager: it ends the server and all its residents."""

    def __init__(self, place: Place, *, patience: float = 120.0) -> None:
        self.place, self.patience = place, patience
        self.log = tempfile.TemporaryFile(mode="w+", errors="replace")  # noqa: SIM115  # closed in __exit__
        self.control, server_end = socket.socketpair()
        self.control.settimeout(patience)
        settings: dict[str, Any] = {"socket": server_end.fileno(), "parent": os.getpid()}
        if place.moved:
            settings["repository"], settings["worktree"] = place.moved
        self.process = subprocess.Popen(
            [place.python, str(BOOT), json.dumps(settings)],
            cwd=place.directory,
            env={**os.environ, **(place.environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            pass_fds=(server_end.fileno(),),
            start_new_session=True,  # Ctrl-C goes to this process only, which then ends the server
            preexec_fn=follower(),
        )
        server_end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with interrupts.shielded:
            self.control.close()
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.log.close()

    def ready(self) -> None:
        """Wait for the server. InputError if its commit cannot be compared, FailedError if it does not start."""
        answer = b""
        with suppress(OSError):
            while not answer.endswith(b"\n") and (more := self.control.recv(256)):
                answer += more
        words = answer.decode().split()
        if len(words) == 2 and words[0] == "no":
            raise InputError(
                f"{self.place.name}: its Python cannot load drbench.against ({words[1]} is missing): "
                "drbench is too old there, or the Python of --against-python does not have it"
            )
        if len(words) != 2:
            raise FailedError(f"{self.place.name}: its Python did not start: {self.last_words()}")
        if words[0] != str(PROTOCOL):
            raise InputError(
                f"{self.place.name}: got protocol {words[0]} of drbench {words[1]}; expected protocol {PROTOCOL}"
            )

    def fork(self) -> RemoteResident:
        """Fork a resident: a fresh process with everything imported."""
        near, far = socket.socketpair()
        with far:
            try:
                socket.send_fds(self.control, [NUMBER.pack(0)], [far.fileno()])
                pid = NUMBER.unpack(self.control.recv(NUMBER.size))[0]
            except (OSError, struct.error) as error:
                near.close()
                raise FailedError(f"{self.place.name}: its server has ended: {self.last_words()}") from error
        return RemoteResident(self, pid, Connection(near.detach()))

    def spent(self) -> float:
        """Processor seconds of the server and of its residents that have ended."""
        with suppress(psutil.Error):
            times = psutil.Process(self.process.pid).cpu_times()
            return float(times.user + times.system + times.children_user + times.children_system)
        return 0.0

    def ended(self, pid: int) -> str:
        """How an ended resident ended: the signal or the exit code."""
        self.control.sendall(NUMBER.pack(pid))
        code = NUMBER.unpack(self.control.recv(NUMBER.size))[0]
        return f"{signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def last_words(self) -> str:
        """The last line of output of this side."""
        self.log.seek(0)
        lines = self.log.read().split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


class RemoteResident:
    """The near end of one resident. A context manager: it ends the resident."""

    def __init__(self, side: Side, pid: int, connection: Connection) -> None:
        self.side, self.pid, self.connection = side, pid, connection
        self._ended: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with interrupts.shielded:
            self.connection.close()
            if self._ended is None:
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
                self.ended()

    def ended(self) -> str:
        """Wait for the end of the resident and return how it ended."""
        if self._ended is None:
            self._ended = "its server has ended"
            with suppress(OSError, struct.error):
                self._ended = self.side.ended(self.pid)
        return self._ended

    def send(self, do: str, **arguments: Any) -> None:
        """Send the request `do`; `receive` waits for the answer."""
        with suppress(OSError):  # it has ended: `receive` reports how
            self.connection.send({"do": do, **arguments})

    def receive(self, patience: float | None = None) -> Any:
        """Wait for the answer. FailedError if the resident raised, crashed or took longer than `patience` seconds."""
        try:
            patience = self.side.patience if patience is None else patience
            if not self.connection.poll(patience):
                raise FailedError(f"timeout: no answer in {patience:.0f} s")
            answer = self.connection.recv()
        except (EOFError, OSError) as error:
            raise FailedError(f"crashed: {self.ended()}") from error
        if "error" in answer:
            raise FailedError(answer["error"])
        return answer["value"]

    def ask(self, do: str, patience: float | None = None, **arguments: Any) -> Any:
        """Send a request and return its answer."""
        self.send(do, **arguments)
        return self.receive(patience)


class SeatError(FailedError):
    """A failure of the network on one seat of a block."""

    def __init__(self, seat: str, reason: str) -> None:
        super().__init__(reason)
        self.seat = seat


def block(
    seats: Mapping[str, tuple[Side, Mapping[str, Any]]], latency: Mapping[str, Any], *, rounds: int, number: int
) -> tuple[dict[int, dict[str, Samples]], dict[str, Any]]:
    """Run one block: a resident for every seat (its side and its variant), and `rounds` rounds for each batch size.

    Every second block (by `number`) has the seats in reverse order. If there are more processors than threads, all
    residents of a block run on the same processors, and the next block on the next ones; otherwise one resident could
    always have the better processor.

    Returns:
        batch size -> seat -> samples; and seat -> what its times depend on.

    Raises:
        SeatError: a network could not be built, failed or crashed.
    """
    with ExitStack() as stack:
        order = list(seats)[::-1] if number % 2 else list(seats)
        residents = {seat: stack.enter_context(seats[seat][0].fork()) for seat in order}
        if cpus := processors(latency.get("threads"), number // 2):
            for resident in residents.values():
                os.sched_setaffinity(resident.pid, cpus)
        contexts: dict[str, Any] = {}
        for seat, (_, variant) in seats.items():  # all build at the same time; timing begins when all are ready
            residents[seat].send("build", variant=dict(variant), latency=dict(latency))
        for seat, resident in residents.items():
            contexts[seat] = _answer(seat, resident)
        samples = {size: _turns(residents, size, rounds) for size in latency["batch_sizes"]}
        return samples, contexts


def processors(threads: int | None, number: int) -> list[int]:
    """The processors of block `number`: one per thread, different from block to block; [] if all are needed."""
    available = busy.affinity()
    if threads is None or threads >= len(available):
        return []
    start = number * threads
    return [available[(start + index) % len(available)] for index in range(threads)]


def _turns(residents: Mapping[str, RemoteResident], size: int, rounds: int) -> dict[str, Samples]:
    def turn(name: str, count: int) -> list[float]:
        residents[name].send("turn", size=size, count=count)
        return [nanoseconds / 1e9 for nanoseconds in _answer(name, residents[name])]

    return turns.take(list(residents), turn, warm=WARM, go_on=lambda number, seconds: number < rounds)


def _answer(seat: str, resident: RemoteResident) -> Any:
    try:
        return resident.receive()
    except FailedError as error:
        raise SeatError(seat, str(error)) from error
