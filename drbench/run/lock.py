"""A lock on a run: a locked file in the folder of its results. The lock is released however its process ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from drbench.errors import InputError

try:
    import fcntl
except ImportError:  # Windows: there is no lock
    fcntl = None  # type: ignore[assignment]

NAME = "held"


@contextmanager
def hold(files: Path, run_id: str) -> Iterator[None]:
    """Hold the lock of a run whose results are in the folder `files`. InputError if another process holds it."""
    files.mkdir(parents=True, exist_ok=True)
    with (files / NAME).open("w") as file:
        if not _lock(file):
            raise InputError(f"run {run_id}: another process is running it. Wait for that process, or end it")
        yield


def is_left(files: Path) -> bool:
    """Whether the run was locked once and is not locked now: a run without an end was then killed."""
    try:
        with (files / NAME).open("r+") as file:
            return fcntl is not None and _lock(file)
    except OSError:
        return False


def _lock(file: IO[str]) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
