"""Peak memory in addition to what the process used before: of the host, and of a device.

Host memory is peak resident memory as the system reports it (Linux: VmHWM, which is reset first; elsewhere a thread
samples every 2 ms and may miss a short peak). It includes memory that allocators reserve, and pages of libraries on
their first use; `inference` keeps both small. Device memory is what torch's allocator had allocated, without the memory
that the allocator and the driver reserve.
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
    """Peak memory in bytes. `device`: None if it is not measured."""

    host: int = 0
    device: int | None = None


@contextmanager
def peak(device: torch.device) -> Iterator[PeakMemory]:
    """Measure the peak memory of the `with` block, above what is used now. The result is valid after the block."""
    result = PeakMemory()
    _tidy()
    counted = device.type == "cuda"
    if counted:
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    with _host() as highest:
        yield result
        result.host = highest()
    if counted:
        result.device = torch.cuda.max_memory_allocated(device) - before


def inference(build: Callable[[int], Callable[[], object]], size: int, device: torch.device) -> PeakMemory:
    """Peak memory of building a network and calling it with `size` images: weights, images, intermediate results.

    `build(size)` builds the network and returns the call. Both are done once before, without measuring. Only for a
    process of its own: it changes how the process allocates memory.
    """
    _release_at_once()
    build(size)()
    with peak(device) as result:
        build(size)()
    return result


def _tidy() -> None:
    """Return free memory to the system, so that later allocations are visible as resident memory."""
    gc.collect()
    if (system := _glibc()) is not None:
        system.malloc_trim(0)


def _release_at_once() -> None:
    """Allocate every tensor in pages of its own, released when it is freed: resident memory is then memory in use.

    Otherwise the memory that allocators keep differs by a third from run to run, with the timing of the threads.
    """
    if (system := _glibc()) is not None:
        system.mallopt(M_MMAP_THRESHOLD, 1 << 16)
        system.mallopt(M_ARENA_MAX, 1)


def _glibc() -> ctypes.CDLL | None:
    system = ctypes.CDLL(None) if sys.platform == "linux" else None
    return system if hasattr(system, "malloc_trim") else None


@contextmanager
def _host() -> Iterator[Callable[[], int]]:
    """Yield a function that returns the peak resident memory since now, in bytes above the present value."""
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
