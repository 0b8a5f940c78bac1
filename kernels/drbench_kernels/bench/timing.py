"""Times of several calls in alternation, so that every ratio between two of them is of pairs.

A round takes one sample of each call; the order is turned from round to round (AB, BA, BA, AB, ...), so that each call
comes equally often in each place and a machine that slows down for a while slows all of them down. A slow call takes
part in the first rounds only. A sample is the mean of a few calls in a row where one alone would be too short.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch

Call = Callable[[], object]
Reading = Callable[[], float]
MOST_CALLS = 50
"""In one sample."""


@dataclass(frozen=True)
class Timed:
    """A sample of it is `runs` runs of `call`, each worth `calls` calls (more than one in a CUDA graph)."""

    call: Call
    runs: int = 1
    calls: int = 1


@dataclass(frozen=True)
class Budget:
    """For each call: samples go on for `seconds` or to `most` of them, but there are `least`."""

    seconds: float = 0.15
    most: int = 100
    least: int = 3
    sample_seconds: float = 0.0005
    """Calls of one sample: as many as take this long together."""


class CpuClock:
    """Wall-clock time."""

    name = "wall clock"

    def sample(self, timed: Timed) -> Reading:
        """Seconds per call."""
        call, runs = timed.call, range(timed.runs)
        start = time.perf_counter_ns()
        for _ in runs:
            call()
        seconds = (time.perf_counter_ns() - start) / 1e9 / (timed.runs * timed.calls)
        return lambda: seconds

    def settle(self) -> None:
        """Wait for the device: nothing to wait for."""


class CudaClock:
    """CUDA events around the calls of a sample; the device is waited for between rounds only, before readings."""

    name = "CUDA events"

    def __init__(self, flush: bool) -> None:
        self._flush = torch.empty(1 << 28, dtype=torch.uint8, device="cuda") if flush else None

    def sample(self, timed: Timed) -> Reading:
        """Seconds per call, to be read after `settle`."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        if self._flush is not None:
            self._flush.zero_()
        start.record()
        for _ in range(timed.runs):
            timed.call()
        end.record()
        return lambda: start.elapsed_time(end) / 1e3 / (timed.runs * timed.calls)

    def settle(self) -> None:
        """Wait for the device."""
        torch.cuda.synchronize()


Clock = CpuClock | CudaClock


def once(call: Call, clock: Clock) -> float:
    """Seconds of one call."""
    reading = clock.sample(Timed(call))
    clock.settle()
    return reading()


def timed(call: Call, seconds: float, budget: Budget, graph: bool) -> Timed:
    """What makes a sample of a call that takes so long."""
    calls = max(1, min(MOST_CALLS, round(budget.sample_seconds / max(seconds, 1e-9))))
    return Timed(graphed(call, calls), 1, calls) if graph else Timed(call, calls)


def graphed(call: Call, calls: int) -> Call:
    """`calls` calls as one CUDA graph."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            call()
    return graph.replay


def interleave(
    calls: Mapping[str, Timed], references: Mapping[str, str], clock: Clock, budget: Budget
) -> dict[str, list[float]]:
    """Samples of each call, its n-th taken in the same round as the n-th of its reference.

    Args:
        calls: name -> what makes a sample.
        references: name -> the name that it is compared with. That one takes part for as long as any of its others.
        clock: how a sample is taken.
        budget: when there are enough.
    """
    samples: dict[str, list[float]] = {name: [] for name in calls}
    spent = dict.fromkeys(calls, 0.0)

    def enough(name: str) -> bool:
        count = len(samples[name])
        return count >= budget.most or (count >= budget.least and spent[name] >= budget.seconds)

    with collected():
        for number in range(budget.most):
            going = {name for name in calls if not enough(name)}
            going |= {references[name] for name in going}
            if not going:
                break
            names = order([name for name in calls if name in going], number)
            readings = {name: clock.sample(calls[name]) for name in names}
            clock.settle()
            for name, reading in readings.items():
                samples[name].append(reading())
                spent[name] += samples[name][-1] * calls[name].runs * calls[name].calls
    return samples


def order(names: Sequence[str], round_number: int) -> list[str]:
    """Who comes when in this round: every second round backwards, and after each such pair the next one begins."""
    start = (round_number // 2) % len(names)
    turned = [*names[start:], *names[:start]]
    return turned[::-1] if round_number % 2 else turned


@dataclass(frozen=True)
class Ratio:
    """Median and quartiles of the ratios of pairs, and how many pairs there were."""

    median: float
    p25: float
    p75: float
    rounds: int


def ratio(samples: Sequence[float], reference: Sequence[float]) -> Ratio:
    """Sample over reference, round by round, for the rounds in which both were taken."""
    pairs = sorted(sample / base for sample, base in zip(samples, reference, strict=False))
    return Ratio(median(pairs), quantile(pairs, 0.25), quantile(pairs, 0.75), len(pairs))


def quantile(ordered: Sequence[float], fraction: float) -> float:
    """Of sorted values, with linear interpolation (R's type 7)."""
    position = fraction * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


@contextmanager
def collected() -> Iterator[None]:
    """Garbage is collected before, not during; it would hit whichever call happens to be running."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
