"""The processes of one side of a comparison: a server with torch loaded, and residents forked from it.

A resident builds one network and waits in a read for requests to take a turn. All messages are plain values (dicts,
lists, numbers, text), because the two ends may be two versions of drbench; they are compatible if PROTOCOL is equal.
"""

from __future__ import annotations

import gc
import os
import socket
import struct
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import fields
from multiprocessing.connection import Connection
from typing import Any

PROTOCOL = 1
NUMBER = struct.Struct("q")
REST = 0.01
"""Pause in seconds after a turn with several threads: OpenMP threads keep spinning for some milliseconds."""


def serve(handle: int) -> None:
    """Fork a resident for each received socket, and report how a resident ended. Return when the other end closes."""
    import torch  # noqa: F401  # so that residents need not load it

    import drbench.latency.block
    import drbench.suite.plan  # noqa: F401
    from drbench import __version__

    control = socket.socket(fileno=handle)
    control.sendall(f"{PROTOCOL} {__version__}\n".encode())
    gc.freeze()
    while True:
        message, handles, _, _ = socket.recv_fds(control, NUMBER.size, 1)
        if not message:
            return
        if handles:
            pid = os.fork()
            if pid == 0:
                control.close()
                _resident(Connection(handles[0]))
            os.close(handles[0])
            control.sendall(NUMBER.pack(pid))
        else:
            _, status = os.waitpid(NUMBER.unpack(message)[0], 0)
            control.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))


def _resident(connection: Connection) -> None:
    """Answer requests until the other end closes; never returns."""
    try:
        with ExitStack() as stack:
            resident = Resident(stack)
            while True:
                request = connection.recv()
                try:
                    connection.send({"value": getattr(resident, request.pop("do"))(**request)})
                except Exception as error:
                    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
                    connection.send({"error": reason[:500], "traceback": traceback.format_exc()})
    except (EOFError, OSError):
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


class Resident:
    """The requests of the protocol, one method each."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.calls: dict[int, Callable[[], object]] = {}

    def plan(self, suite: str, overrides: dict[str, Any]) -> dict[str, Any]:
        """Build the kernels; return the variants that the suite times, as dicts, its latency settings and notes."""
        from drbench import experiment
        from drbench.identity import canonical, table, variant_hash
        from drbench.suite.plan import plan, variants
        from drbench.suite.read import read_suite

        read = read_suite(suite, overrides).model_copy(update={"stages": ("latency",)})
        targets = {variant_hash(variant): variant for rows in variants(read).values() for variant, _ in rows}
        work = plan(read)
        experiment.check(work)
        notes: list[str] = []
        experiment.build_kernels(work, say=lambda event: notes.append(event.text))
        planned: dict[str, Any] = {}  # architecture/label -> variant
        for unit in work:
            for variant, label in zip(unit.variants, unit.labels, strict=True):
                if variant.match is not None and variant.matched_to is not None:
                    variant = experiment.resolve(variant, targets[variant.matched_to])
                name = f"{variant.architecture}/{label}"
                if name in planned:  # an architecture at several widths or arguments
                    name += f" {canonical([variant.width, variant.architecture_args])}"
                planned[name] = table(variant)
        return {"variants": planned, "latency": table(work[0].latency) if work[0].latency else {}, "notes": notes}

    def build(self, variant: dict[str, Any], latency: dict[str, Any]) -> dict[str, Any]:
        """Build the network, prepare this process for timing, and return what a latency depends on."""
        import torch

        from drbench.devices import device_of
        from drbench.latency import block
        from drbench.latency import timer as timing
        from drbench.records import LatencySettings, Variant

        known = {field.name for field in fields(LatencySettings)}
        settings = LatencySettings(**{key: value for key, value in latency.items() if key in known})
        context = self.stack.enter_context(timing.quiet(settings))
        network = block.prepared(Variant(**variant), settings)
        for size in settings.batch_sizes:
            self.calls[size] = network.call(size)
        self.wait = block.RUNTIME.wait(device_of(settings.device))
        self.rest = REST if context["threads"] > 1 else 0.0
        return {**context, **network.about(), "torch": torch.__version__}

    def turn(self, size: int, count: int) -> list[int]:
        """The nanoseconds of each of `count` consecutive calls at batch size `size`."""
        call, wait, times = self.calls[size], self.wait, []
        wait()
        for _ in range(count):
            start = time.perf_counter_ns()
            call()
            wait()
            times.append(time.perf_counter_ns() - start)
        time.sleep(self.rest)
        return times
