"""Why a worker ended, in words."""

from __future__ import annotations

import errno
import re
import signal
from collections.abc import Iterator
from pathlib import Path


def crash(status: int, oom: bool) -> tuple[str, str]:
    """Kind and reason for an exit status (negative: the signal); `oom`: the system ran out of memory meanwhile."""
    if status == -signal.SIGKILL and oom:
        return "oom", "the system killed it: out of memory"
    if status < 0:
        hint = " (killed from outside)" if status == -signal.SIGKILL else ""
        return "crashed", f"{_name(-status)}{hint}"
    return "crashed", f"exit code {status} before it was done"


def memory(limit: int) -> str:
    """The watch stopped it."""
    return f"it and its children held more than the limit of {limit / 2**30:.2f} GiB"


def time(limit: float) -> str:
    """The clock stopped it."""
    return f"not done within {limit:g} s"


def raised(error: BaseException) -> str:
    """ "oom" for what Python and torch raise when memory cannot be had, on the host or a device; else "failed"."""
    return "oom" if any(map(_is_memory, causes(error))) else "failed"


def disk_full(error: BaseException) -> OSError | None:
    """The system's error behind it, if that says so."""
    full = (errno.ENOSPC, errno.EDQUOT)
    return next((one for one in causes(error) if isinstance(one, OSError) and one.errno in full), None)


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    torch = r"can't allocate memory|CUDA error: out of memory"
    return isinstance(error, RuntimeError) and re.search(torch, str(error)) is not None


def oom_kills() -> int:
    """How often the system killed for memory so far, here or in this container; 0 where it does not say."""
    counts = re.findall(
        r"^oom_kill (\d+)$", _read("/sys/fs/cgroup/memory.events") + _read("/proc/vmstat"), re.MULTILINE
    )
    return sum(map(int, counts))


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
