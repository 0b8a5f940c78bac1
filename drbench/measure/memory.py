"""The most memory that something held above what its process held before: of the host, and of a device.

Host memory is what was resident, at its highest by the system's own account (Linux: VmHWM, which is reset first;
elsewhere a thread looks every 2 ms and may miss a short peak). It counts what allocators set aside and whatever pages
of libraries were touched for the first time; `inference` sees to it that neither is much.
Device memory is what torch's allocator had given out, not what it or the driver set aside.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

LOOK_SECONDS = 0.002
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8


@dataclass
class PeakMemory:
    """Bytes; `device` None where there is no account of it."""

    host: int = 0
    device: int | None = None


@contextmanager
def peak(device: torch.device) -> Iterator[PeakMemory]:
    """What the body holds at its highest, above what is held now; known when the body is done."""
    found = PeakMemory()
    _tidy()
    counted = device.type == "cuda"
    if counted:
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
    with _host() as highest:
        yield found
        found.host = highest()
    if counted:
        found.device = torch.cuda.max_memory_allocated(device) - held


def inference(build: Callable[[int], Callable[[], object]], size: int, device: torch.device) -> PeakMemory:
    """Of building a network and calling it with `size` images: weights, images, what is computed.

    `build(size)` builds it and gives the call. Both are done once before and thrown away. For a process of its own: it
    changes how memory is allocated.
    """
    _give_back_at_once()
    build(size)()
    with peak(device) as found:
        build(size)()
    return found


def _tidy() -> None:
    """Give back what is free, so that it is not what the next allocation is served from."""
    gc.collect()
    if (system := _glibc()) is not None:
        system.malloc_trim(0)


def _give_back_at_once() -> None:
    """Have every tensor in pages of its own, gone when it is freed: what is resident is then what is in use.

    What allocators keep instead differs from run to run by a third, with the moments at which threads ask.
    """
    if (system := _glibc()) is not None:
        system.mallopt(M_MMAP_THRESHOLD, 1 << 16)
        system.mallopt(M_ARENA_MAX, 1)


def _glibc() -> ctypes.CDLL | None:
    system = ctypes.CDLL(None) if sys.platform == "linux" else None
    return system if hasattr(system, "malloc_trim") else None


@contextmanager
def _host() -> Iterator[Callable[[], int]]:
    """A function that gives the most bytes that were resident since, above what is now."""
    before = psutil.Process().memory_info().rss
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        with _sampled() as highest:
            yield lambda: max(0, highest[0] - before)
        return
    yield lambda: max(0, _high_water() - before)


def _high_water() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0


@contextmanager
def _sampled() -> Iterator[list[int]]:
    process, ended = psutil.Process(), threading.Event()
    highest = [process.memory_info().rss]

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):
            highest[0] = max(highest[0], process.memory_info().rss)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield highest
    finally:
        ended.set()
        thread.join()
