"""Other load on the machine during timing, and notes on what makes times less reliable. Never fails."""

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
"""Shares of the processors (BUSY) and of time (STOLEN) above which there is a note."""
CPU = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Load:
    """Load on a machine during an interval.

    others: number of processors that other processes kept busy.
    stolen: share of time that the host of this virtual machine gave to other machines.
    swapped: bytes that were swapped to or from the disk.
    """

    others: float = 0.0
    stolen: float = 0.0
    swapped: int = 0


class LoadWatch:
    """Measures the load from its creation on.

    own: returns the processor seconds of drbench's own processes, which are excluded; default: this process.
    """

    def __init__(self, own: Callable[[], float] | None = None) -> None:
        self.own = own or time.process_time
        self.before = self._now()

    def load(self) -> Load:
        """The load since the creation of this object."""
        clock, busy, stolen, own, swapped = (now - then for now, then in zip(self._now(), self.before, strict=True))
        seconds = max(clock, 1e-3)
        cores = psutil.cpu_count() or 1
        return Load(max(0.0, (busy - own) / seconds), stolen / seconds / cores, int(swapped))

    def _now(self) -> tuple[float, float, float, float, float]:
        times = psutil.cpu_times()
        stolen = getattr(times, "steal", 0.0)
        guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # included in user and nice
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - stolen - guest
        swapped = 0.0
        with suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            swap = psutil.swap_memory()
            swapped = swap.sin + swap.sout
        return time.perf_counter(), busy, stolen, self.own(), swapped


def worst(loads: Iterable[Load]) -> Load:
    """The maximum of each field; a zero load if there are none."""
    known = list(loads) or [Load()]
    return Load(max(x.others for x in known), max(x.stolen for x in known), max(x.swapped for x in known))


def notes(load: Load, threads: int) -> list[str]:
    """Notes on a load, one line each, including those of `frequency`. `threads`: number of threads of the timing."""
    cores = available()
    lines = []
    if load.others > BUSY * cores:
        text = f"busy machine: other processes kept {load.others:.1f} of {cores} processors busy during timing"
        if threads >= cores > 1:
            text += f"; with all {cores} threads in use, torch can be ten times slower: use --threads {cores - 1}"
        lines.append(text)
    if load.stolen > STOLEN:
        lines.append(f"busy host: {load.stolen:.0%} of this virtual machine's time went to others during timing")
    if load.swapped:
        lines.append(f"swapping: {load.swapped / 2**20:,.0f} MiB were swapped to or from the disk during timing")
    return lines + frequency()


def frequency() -> list[str]:
    """Notes on frequency scaling, as far as the system reports it."""
    lines = []
    governor = _read(CPU / "cpu0/cpufreq/scaling_governor")
    if governor not in ("", "performance"):
        lines.append(f"frequency scaling: the governor is {governor!r}; times vary less with 'performance'")
    if _read(CPU / "intel_pstate/no_turbo") == "0" or _read(CPU / "cpufreq/boost") == "1":
        lines.append("frequency scaling: turbo is on, so the clock depends on load and temperature")
    return lines


def available() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def affinity() -> list[int]:
    """The numbers of the processors that this process may use; empty if the system does not report them."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
