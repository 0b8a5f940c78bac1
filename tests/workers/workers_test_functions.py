"""What the tests of workers have workers do."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from drbench.errors import InputError
from drbench.records import Event

Say = Callable[[Event], None]


def add(a: int, b: int, *, say: Say) -> int:
    say(Event("note", "adding"))
    return a + b


def surroundings(*, say: Say) -> dict[str, Any]:
    import torch

    return {
        "directory": os.getcwd(),
        "variable": os.environ.get("DRBENCH_TEST_VARIABLE"),
        "omp": os.environ.get("OMP_NUM_THREADS"),
        "threads": torch.get_num_threads(),
        "server_threads": len(os.listdir(f"/proc/{os.getppid()}/task")),
        "cuda": torch.cuda.is_initialized() or torch.cuda._is_in_bad_fork(),
        "session": os.getsid(0),
        "pid": os.getpid(),
    }


def raises(*, say: Say) -> None:
    raise ValueError("two\nlines")


def bad_input(*, say: Say) -> None:
    raise InputError("say what?")


def leaves(*, say: Say) -> None:
    sys.exit(3)


def segfault(*, say: Say) -> None:
    ctypes.string_at(0)


def exits(*, say: Say) -> None:
    os._exit(7)


def aborts(*, say: Say) -> None:
    os.abort()


def not_to_be_pickled(*, say: Say) -> Any:
    return lambda: None


def dies_within_a_message(*, say: Say) -> None:
    import threading

    threading.Timer(0.3, os._exit, (9,)).start()
    say(Event("note", "x" * (1 << 28)))
    time.sleep(60)


def grows(*, say: Say) -> None:
    kept = []
    while True:
        kept.append(bytearray(b"x") * (1 << 22))


def a_child_grows(*, say: Say) -> None:
    code = "kept = []\nwhile True: kept.append(bytearray(b'x') * (1 << 22))"
    subprocess.run([sys.executable, "-c", code], check=False)
    time.sleep(60)


def python_memory(*, say: Say) -> None:
    raise MemoryError


def torch_memory(*, say: Say) -> None:
    import torch

    torch.empty(1 << 45)


def device_memory(*, say: Say) -> None:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB")


def sleeps(seconds: float, *, say: Say) -> None:
    say(Event("note", str(os.getpid())))
    time.sleep(seconds)


def is_sent(number: int, *, say: Say) -> None:
    os.kill(os.getpid(), number)


def forks(*, say: Say) -> None:
    """As a data loader does: a child that never asks whether its parent lives."""
    child = os.fork()
    if child == 0:
        os.setsid()
        time.sleep(600)
        os._exit(0)
    say(Event("note", f"{os.getppid()} {os.getpid()} {child}"))
    time.sleep(600)


def leaves_children(*, say: Say) -> list[int]:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    there = [subprocess.Popen(command, start_new_session=new) for new in (False, True)]
    for one in there:
        one.returncode = 0  # no warning that it still runs
    return [one.pid for one in there]
