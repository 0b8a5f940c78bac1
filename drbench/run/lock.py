"""A run is held by the process that does it: a locked file beside its results, freed however that process ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from drbench.errors import InputError

try:
    import fcntl
except ImportError:  # Windows: nobody is kept out
    fcntl = None  # type: ignore[assignment]

NAME = "held"


@contextmanager
def hold(files: Path, run_id: str) -> Iterator[None]:
    """Hold a run whose results lie in `files`. InputError where another process does."""
    files.mkdir(parents=True, exist_ok=True)
    with (files / NAME).open("w") as file:
        if not _lock(file):
            raise InputError(f"run {run_id} is going on in another process: wait for it, or end that first")
        yield


def is_left(files: Path) -> bool:
    """Whether a run was held once and nobody holds it now: if it has not ended, it was killed."""
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
