"""Run one hostile case in a process of its own, and say what was wrong with how it ended."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from drbench import streams
from drbench.cli import main
from drbench.cli.output import complain
from drbench.errors import FAILED, INTERNAL, NOTHING, REGRESSION, UNRESOLVED, USAGE, DrbenchError
from tests.hostile import harm

HANG = 60.0
"""Seconds after which a case counts as hanging."""


@dataclass
class Result:
    """How a case ended: the exit code (negative: a signal), what it printed, in how many seconds."""

    code: int
    out: str
    err: str
    seconds: float


@dataclass
class Case:
    """A command line, or a call into the library (which may return an exit code), in a directory prepared for it.

    `codes`: the exit codes that are right. `secrets`: words that must not be printed. `judge`: what else is wrong.
    `data`: the output is for machines, so its lines may be long; `annotations`: it holds drbench's own annotations.
    """

    name: str
    directory: Path
    arguments: Sequence[str] = ()
    call: Callable[[], object] | None = None
    codes: frozenset[int] = frozenset({0, USAGE, NOTHING, FAILED})
    secrets: tuple[str, ...] = ()
    judge: Callable[[Result], list[str]] = lambda result: []
    data: bool = False
    annotations: bool = False
    environment: dict[str, str] = field(default_factory=dict)


CHECKED = frozenset({0, REGRESSION, USAGE, NOTHING, FAILED, UNRESOLVED})
"""The exit codes of `drbench check`."""


def faults(case: Case, result: Result) -> list[str]:
    """What is wrong with how a case ended; empty if nothing is."""
    found = case.judge(result)
    if result.seconds >= HANG:
        return [*found, f"it hung: no end after {HANG:.0f} s"]
    if result.code not in case.codes:
        found.append(f"exit code {result.code}")
    for name, text in (("stdout", result.out), ("stderr", result.err)):
        if "Traceback" in text:
            found.append(f"a traceback on {name}")
        for harmful in harm(text, commands=case.annotations, data=case.data):
            found.append(f"{name}: {harmful}")
        if any(secret in text for secret in case.secrets):
            found.append(f"{name} shows a password")
    return found


def run_all(cases: Iterator[Case], jobs: int) -> Iterator[tuple[Case, Result]]:
    """Run cases, `jobs` at a time, each in a fork of this process (which has loaded what they need)."""
    running: dict[int, tuple[Case, float]] = {}
    exhausted = False
    while running or not exhausted:
        while not exhausted and len(running) < jobs:
            case = next(cases, None)
            exhausted = case is None
            if case is not None:
                running[_start(case)] = (case, time.monotonic())
        for process, (case, since) in list(running.items()):
            ended, status = os.waitpid(process, os.WNOHANG)
            seconds = time.monotonic() - since
            if not ended and seconds >= HANG:
                os.killpg(process, signal.SIGKILL)
                _, status = os.waitpid(process, 0)
                ended = process
            if ended:
                del running[process]
                yield case, _result(case, os.waitstatus_to_exitcode(status), seconds)
        time.sleep(0.002)


def run(case: Case) -> Result:
    """One case, alone."""
    return next(run_all(iter([case]), 1))[1]


def _result(case: Case, code: int, seconds: float) -> Result:
    out, err = (_file(case, name).read_bytes().decode("utf-8", "surrogateescape") for name in ("out", "err"))
    return Result(code, out, err, seconds)


def _file(case: Case, name: str) -> Path:
    return case.directory.with_name(f"{case.directory.name}.{name}")


def _start(case: Case) -> int:
    process = os.fork()
    if process:
        return process
    code = INTERNAL
    try:
        os.setsid()
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(_file(case, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (pytest has put its own there)
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
        os.chdir(case.directory)
        os.environ.pop("DRBENCH_DB", None)
        os.environ.update(case.environment)
        code = main(list(case.arguments)) if case.call is None else _called(case.call)
        sys.stdout.flush()
    except BaseException:  # the parent has to see it, whatever it is
        traceback.print_exc()
    finally:
        os._exit(code)


def _called(call: Callable[[], object]) -> int:
    """The exit code that a command would end with, had it called this."""
    with streams.guarded():
        try:
            found = call()
        except DrbenchError as error:
            return complain(str(error), error.exit_code)
    return found if isinstance(found, int) else 0
