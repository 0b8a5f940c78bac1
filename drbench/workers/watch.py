"""How much memory a worker and its children hold, often and cheaply."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

FAMILY_SECONDS = 0.5
"""How old the list of children may be: to list them is to go through all processes of the machine."""


class MemoryWatch:
    """Of the tree below `pid`. `peak`: the most bytes that a look has seen."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self.pid = pid
        self.family: list[psutil.Process] = []
        self.listed = -FAMILY_SECONDS

    def look(self, exact_above: int | None) -> int:
        """Bytes that the tree holds now.

        Resident memory, which counts what several share for each of them; where that matters (there are children, or
        it is beyond `exact_above`) shared pages count by their share.
        """
        if time.monotonic() - self.listed > FAMILY_SECONDS:
            self.family, self.listed = _tree(self.pid), time.monotonic()
        held = sum(map(_resident, self.family))
        if len(self.family) > 1 or (exact_above is not None and held > exact_above):
            held = sum(map(_proportional, self.family))
        self.peak = max(self.peak, held)
        return held


def free() -> int:
    """Bytes that could be had now, of the machine and within the container's limit (cgroup 2, then 1)."""
    available = int(psutil.virtual_memory().available)
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError):  # no such file, or "max"
            stat = _text(f"{limit.rpartition('/')[0]}/memory.stat").split()
            reclaimable = int(stat[stat.index(cached) + 1])
            available = min(available, int(_text(limit)) - int(_text(used)) + reclaimable)
    return max(available, 0)


def _text(name: str) -> str:
    with open(f"/sys/fs/cgroup/{name}", encoding="ascii") as file:
        return file.read()


def _tree(pid: int) -> list[psutil.Process]:
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _resident(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _proportional(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        found = process.memory_full_info()
        return int(getattr(found, "pss", 0) or found.uss)
    return 0
