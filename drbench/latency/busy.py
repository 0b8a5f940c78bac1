"""What else the machine did while something was timed, and what about it makes times worth less. Never fails."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

BUSY, STOLEN = 0.1, 0.02
"""Shares of the machine's processors beyond which it is said."""
CPU = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Load:
    """`others`: processors kept busy by other processes; `stolen`: share of time that the host of this virtual machine
    gave to other machines; `swapped`: bytes that went to or came from the disk.
    """

    others: float = 0.0
    stolen: float = 0.0
    swapped: int = 0


class LoadWatch:
    """Starts when made; `load` is what came of it. `own`: processor seconds that were ours, of this process if None."""

    def __init__(self, own: Callable[[], float] | None = None) -> None:
        self.own = own or time.process_time
        self.before = self._now()

    def load(self) -> Load:
        """Since the start."""
        clock, busy, stolen, own, swapped = (now - then for now, then in zip(self._now(), self.before, strict=True))
        seconds = max(clock, 1e-3)
        cores = psutil.cpu_count() or 1
        return Load(max(0.0, (busy - own) / seconds), stolen / seconds / cores, int(swapped))

    def _now(self) -> tuple[float, float, float, float, float]:
        times = psutil.cpu_times()
        stolen = getattr(times, "steal", 0.0)
        guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # are in user and nice already
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - stolen - guest
        swapped = 0.0
        with suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            swap = psutil.swap_memory()
            swapped = swap.sin + swap.sout
        return time.perf_counter(), busy, stolen, self.own(), swapped


def worst(loads: Iterable[Load]) -> Load:
    """The worst of each."""
    found = list(loads) or [Load()]
    return Load(max(x.others for x in found), max(x.stolen for x in found), max(x.swapped for x in found))


def notes(load: Load, threads: int) -> list[str]:
    """What is worth saying, a line each."""
    cores = available()
    said = []
    if load.others > BUSY * cores:
        text = f"busy machine: other processes kept {load.others:.1f} of {cores} processors busy during timing"
        if threads >= cores > 1:
            text += f"; on all {cores} threads that can slow torch tenfold: --threads {cores - 1} leaves them room"
        said.append(text)
    if load.stolen > STOLEN:
        said.append(f"busy host: {load.stolen:.0%} of this virtual machine's time went to others during timing")
    if load.swapped:
        said.append(f"swapping: {load.swapped / 2**20:,.0f} MiB went to or came from the disk during timing")
    return said + frequency()


def frequency() -> list[str]:
    """Whether the clock may change under way, as far as the system says."""
    said = []
    governor = _read(CPU / "cpu0/cpufreq/scaling_governor")
    if governor not in ("", "performance"):
        said.append(f"frequency scaling: the governor is {governor!r}, 'performance' is steadier")
    if _read(CPU / "intel_pstate/no_turbo") == "0" or _read(CPU / "cpufreq/boost") == "1":
        said.append("frequency scaling: turbo is on, clocks depend on load and heat")
    return said


def available() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def affinity() -> list[int]:
    """Which processors this process may use; empty where the system has no such notion."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
