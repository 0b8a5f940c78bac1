"""Settings -> results, case by case: every way to compute one shape for one batch and pass, in alternation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from statistics import median
from typing import Any

import torch

from drbench_kernels import native
from drbench_kernels.bench import facts, limits, memory
from drbench_kernels.bench.options import DTYPES, Settings
from drbench_kernels.bench.problem import Case, Problem
from drbench_kernels.bench.shapes import Shape
from drbench_kernels.bench.timing import (
    Budget,
    Call,
    Clock,
    CpuClock,
    CudaClock,
    Timed,
    interleave,
    once,
    ratio,
    timed,
)
from drbench_kernels.bench.ways import CONV, OURS, Prepared, SkippedError, Way

Row = dict[str, Any]
RATES_SECONDS = 20
"""Rates are measured again after so long."""
WARM_SECONDS = 0.1
"""A call that took longer in its first run is warm after it."""


@contextmanager
def settings_as_before() -> Iterator[None]:
    """Afterwards torch's threads and precision are as they were; a Bench changes them for the whole process."""
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = benchmark
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = tf32


class Bench:
    """The machine as it is set up for these settings, and its rates: within `settings_as_before`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.device = torch.device(settings.device)
        self.dtype = DTYPES[settings.dtype]
        if settings.device == "cpu":
            native.ensure()
        torch.set_num_threads(settings.threads)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.benchmark = True  # cuDNN at its best: it is what the ratios are over
        self.clock: Clock = CudaClock(settings.flush_l2) if settings.device == "cuda" else CpuClock()
        per_sample = 0.002 if settings.device == "cuda" else 0.0005
        self.budget = Budget(settings.max_seconds, settings.rounds, min(3, settings.rounds), per_sample)
        self.rates = self._measured()

    def _measured(self) -> limits.Rates:
        self._rates_from = time.perf_counter()
        return limits.measure(self.dtype, self.device, self.clock, min(0.5, 3 * self.settings.max_seconds))

    def session(self, command: str, machine: dict[str, str | int]) -> dict[str, Any]:
        """What stands in the document for this use of the benchmark."""
        return {
            "command": command,
            "started": facts.now(),
            "finished": "",
            "machine": machine,
            "code": facts.code(),
            "native": native.kernels() if native.ready() else f"none: {native.why_not()}",
            "clock": self.clock.name,
            "rates": self.rates_found(),
        }

    def rates_found(self) -> dict[str, Any]:
        """The rates, as they stand in the document."""
        return {
            "gemm_multiply_adds_per_second": self.rates.gemm,
            "copy_bytes_per_second": {str(size): rate for size, rate in self.rates.copy.items()},
        }

    def look_again(self) -> None:
        """Measure the rates once more where the last time is a while ago; the faster ones count."""
        if time.perf_counter() - self._rates_from > RATES_SECONDS:
            self.rates = self.rates.best(self._measured())

    def cases(self) -> Iterator[tuple[Shape, list[Case]]]:
        """The cases of each shape in turn."""
        s = self.settings
        for shape in s.chosen():
            yield (
                shape,
                [
                    Case(
                        shape,
                        batch,
                        name != "forward",
                        s.regions,
                        s.experts,
                        s.masks,
                        self.dtype,
                        s.device,
                        s.memory_format == "channels_last",
                    )
                    for batch in s.batch_sizes
                    for name in s.passes
                ],
            )

    def measure(self, case: Case) -> Row:
        """The result of one case, as it stands in the document."""
        self.look_again()
        problem, ways = Problem(case), self.settings.registry()
        found: dict[str, dict[str, Any]] = {}
        ready: dict[str, Timed] = {}
        with _mode(case):
            for name, way in ways.items():
                try:
                    prepared = self._prepare(way, problem)
                    call = prepared.call(problem)
                    ready[name] = self._timed(call, way)
                    found[name] = {"path": prepared.path, "extra_bytes": memory.peak_extra(call, self.device)}
                except (SkippedError, torch.OutOfMemoryError, MemoryError) as error:
                    found[name] = {"skipped": _line(error)}
                except Exception as error:
                    found[name] = {"failed": f"{type(error).__name__}: {_line(error)}"}
            kept = {name: one for name, one in ready.items() if ways[name].reference in ready}
            samples = interleave(kept, {name: ways[name].reference for name in kept}, self.clock, self.budget)
        samples = {name: [round(value, 10) for value in values] for name, values in samples.items()}
        for name, values in samples.items():
            against = ways[name].reference
            found[name] = {**found[name], "calls": ready[name].runs * ready[name].calls, "samples": values}
            found[name]["seconds"] = median(values)
            if name != against:
                found[name]["ratio"] = {"to": against, **asdict(ratio(values, samples[against]))}
        return self._row(case, problem, found)

    def _row(self, case: Case, problem: Problem, found: dict[str, dict[str, Any]]) -> Row:
        limit = limits.limit(case, self.rates)
        conv, ours = found.get(CONV, {}).get("seconds"), found.get(OURS, {}).get("seconds")
        shape = case.shape
        return {
            "shape": {"name": shape.name, **asdict(shape), "networks": list(shape.networks)},
            "batch": case.batch,
            "pass": case.pass_name,
            "finished": facts.now(),
            "regions_present": problem.regions_present,
            "limit": {
                **asdict(limit),
                "ratio": limit.seconds / conv if conv else None,
                "share": limit.seconds / ours if ours else None,
            },
            "ways": found,
        }

    def _prepare(self, way: Way, problem: Problem) -> Prepared:
        if way.waits and self.settings.graph:
            raise SkippedError("waits for the device: no CUDA graph")
        needed = way.bytes_needed(problem)
        if needed > self.settings.memory_gib * 2**30:
            raise SkippedError(
                f"over memory: needs about {needed / 2**30:.1f} GiB, allowed are {self.settings.memory_gib:g}"
            )
        return way.make(problem)

    def _timed(self, call: Call, way: Way) -> Timed:
        """Warm, and sampled often enough to be read. SkippedError for a peer's call that takes too long."""
        first = seconds = once(call, self.clock)
        if first > self.settings.call_seconds and self.device.type != "cpu":  # perhaps something had to be compiled
            seconds = once(call, self.clock)
        if seconds > self.settings.call_seconds and way.peer:
            raise SkippedError(f"over time: a call takes {seconds:.1f} s, allowed are {self.settings.call_seconds:g}")
        if seconds < WARM_SECONDS or self.settings.graph:
            seconds = min(once(call, self.clock) for _ in range(2))
        return timed(call, seconds, self.budget, self.settings.graph)


@contextmanager
def _mode(case: Case) -> Iterator[None]:
    mode: Callable[[], AbstractContextManager[object]] = torch.enable_grad if case.backward else torch.inference_mode
    with mode():
        yield


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
