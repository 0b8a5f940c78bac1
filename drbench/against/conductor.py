"""Residents take turns: one network a process, one process at a time, the others asleep in a read.

A Side is a Python of its own with the code of one commit (or of the working tree); the residents of a block are forked
from it, live for that block, and are gone after it.
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
"""Calls of each network before anything is kept, beside the very first."""


@dataclass(frozen=True)
class Place:
    """Where a side's code lies and what runs it. `moved`: repository and worktree, where imports have to be mapped."""

    name: str
    directory: Path
    python: str = sys.executable
    moved: tuple[str, str] | None = None
    environment: Mapping[str, str] | None = None


class Side:
    """The server of one side. A context manager: the server and all its residents end with it."""

    def __init__(self, place: Place, *, patience: float = 120.0) -> None:
        self.place, self.patience = place, patience
        self.log = tempfile.TemporaryFile(mode="w+", errors="replace")  # noqa: SIM115  # closed in __exit__
        self.control, theirs = socket.socketpair()
        self.control.settimeout(patience)
        about: dict[str, Any] = {"socket": theirs.fileno(), "parent": os.getpid()}
        if place.moved:
            about["repository"], about["worktree"] = place.moved
        self.process = subprocess.Popen(
            [place.python, str(BOOT), json.dumps(about)],
            cwd=place.directory,
            env={**os.environ, **(place.environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,  # Ctrl-C is for the conductor, who then ends this
            preexec_fn=follower(),
        )
        theirs.close()

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
        """Wait until it serves. InputError for a commit that cannot take part, FailedError where it does not start."""
        said = b""
        with suppress(OSError):
            while not said.endswith(b"\n") and (more := self.control.recv(256)):
                said += more
        words = said.decode().split()
        if len(words) == 2 and words[0] == "no":
            raise InputError(
                f"{self.place.name}: its Python cannot load drbench.against ({words[1]} is missing): "
                "drbench is too old there, or --against-python names a Python without it"
            )
        if len(words) != 2:
            raise FailedError(f"{self.place.name}: its Python did not start: {self.last_words()}")
        if words[0] != str(PROTOCOL):
            raise InputError(
                f"{self.place.name}: drbench {words[1]} speaks protocol {words[0]} between commits, this one {PROTOCOL}"
            )

    def fork(self) -> RemoteResident:
        """A fresh process with everything imported."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self.control, [NUMBER.pack(0)], [theirs.fileno()])
                pid = NUMBER.unpack(self.control.recv(NUMBER.size))[0]
            except (OSError, struct.error) as error:
                ours.close()
                raise FailedError(f"{self.place.name}: its server is gone: {self.last_words()}") from error
        return RemoteResident(self, pid, Connection(ours.detach()))

    def spent(self) -> float:
        """Processor seconds of the server and of its residents that are gone."""
        with suppress(psutil.Error):
            times = psutil.Process(self.process.pid).cpu_times()
            return float(times.user + times.system + times.children_user + times.children_system)
        return 0.0

    def ended(self, pid: int) -> str:
        """How a resident that is gone ended."""
        self.control.sendall(NUMBER.pack(pid))
        code = NUMBER.unpack(self.control.recv(NUMBER.size))[0]
        return f"{signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def last_words(self) -> str:
        """The last line that anything on this side wrote."""
        self.log.seek(0)
        lines = self.log.read().split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


class RemoteResident:
    """The near end of one resident. A context manager: it is gone afterwards."""

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
        """How it ended; waits until it has."""
        if self._ended is None:
            self._ended = "its server is gone"
            with suppress(OSError, struct.error):
                self._ended = self.side.ended(self.pid)
        return self._ended

    def send(self, do: str, **about: Any) -> None:
        """Ask for something; `receive` waits for it."""
        with suppress(OSError):  # gone: receive will say how
            self.connection.send({"do": do, **about})

    def receive(self, patience: float | None = None) -> Any:
        """The answer. FailedError where the resident raised, died or took longer than `patience` seconds."""
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

    def ask(self, do: str, patience: float | None = None, **about: Any) -> Any:
        """`send` and `receive`."""
        self.send(do, **about)
        return self.receive(patience)


class SeatError(FailedError):
    """What happened to whom in a block."""

    def __init__(self, seat: str, reason: str) -> None:
        super().__init__(reason)
        self.seat = seat


def block(
    seats: Mapping[str, tuple[Side, Mapping[str, Any]]], latency: Mapping[str, Any], *, rounds: int, number: int
) -> tuple[dict[int, dict[str, Samples]], dict[str, Any]]:
    """One block: a resident for every seat (its side, its variant), and so many rounds of turns for each batch size.

    Every second block (`number`) goes through the seats backwards. Where there are more processors than threads, all
    residents of a block have the same ones, and the next block the next: else one of them sits on the better processor.

    Returns:
        batch size -> seat -> samples; and what the times depend on.

    Raises:
        SeatError: a network that does not build, fails or dies.
    """
    with ExitStack() as stack:
        order = list(seats)[::-1] if number % 2 else list(seats)
        residents = {seat: stack.enter_context(seats[seat][0].fork()) for seat in order}
        if cpus := processors(latency.get("threads"), number // 2):
            for resident in residents.values():
                os.sched_setaffinity(resident.pid, cpus)
        about: dict[str, Any] = {}
        for seat, (_, variant) in seats.items():  # all build at once, and only afterwards is there anything to time
            residents[seat].send("build", variant=dict(variant), latency=dict(latency))
        for seat, resident in residents.items():
            about[seat] = _answer(seat, resident)
        found = {size: _turns(residents, size, rounds) for size in latency["batch_sizes"]}
        return found, about


def processors(threads: int | None, number: int) -> list[int]:
    """Those of a block: as many as there are threads, in turn. None in particular where all are needed."""
    available = busy.affinity()
    if threads is None or threads >= len(available):
        return []
    start = number * threads
    return [available[(start + place) % len(available)] for place in range(threads)]


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
