"""Times functions in one process, and sets the conditions of timing: threads, TF32 off, garbage collection off.

Returns raw times; `drbench.latency.turns` and `drbench.statistics.ratios` compute figures from them.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from drbench.devices import device_of
from drbench.errors import FailedError, InputError
from drbench.latency import busy, turns
from drbench.latency.turns import Samples
from drbench.precision import full_float32
from drbench.records import LatencySettings

Function = Callable[[], object]


def measure(
    functions: Mapping[str, Function],
    settings: LatencySettings,
    *,
    wait: Function = lambda: None,
    on_round: Callable[[int, float], object] | None = None,
) -> dict[str, Samples]:
    """Seconds per call of each function. The functions take turns (see `turns`); all have the same number of turns.

    The first call and `warmup_runs` more are discarded. Then rounds are run until there are `min_runs` of them and the
    calls have taken `min_seconds` per function, or until `max_seconds` have passed since the start (at least one round
    is kept). The calls run in inference mode, with `settings.threads`, and without garbage collection.

    Args:
        functions: name -> a function without arguments; its return value is discarded.
        settings: see LatencySettings.
        wait: called before and after each call to wait for the device (see `runtimes.Runtime.wait`); not needed on a
            CPU.
        on_round: called between rounds with the number of rounds kept so far and the seconds since the start.

    Raises:
        InputError: invalid settings, or no functions.
        FailedError: a function raised; the message names the function and the exception.
    """
    _check(functions, settings)
    start = time.perf_counter()

    def turn(name: str, count: int) -> list[float]:
        return [_timed(name, functions[name], wait) for _ in range(count)]

    def go_on(number: int, timed: float) -> bool:
        elapsed = time.perf_counter() - start
        if on_round is not None:
            on_round(number, elapsed)
        enough = number >= settings.min_runs and timed >= settings.min_seconds * len(functions)
        return not enough and elapsed < settings.max_seconds

    with quiet(settings):
        return turns.take(list(functions), turn, warm=settings.warmup_runs, go_on=go_on)


@contextmanager
def quiet(settings: LatencySettings) -> Iterator[dict[str, Any]]:
    """Set the conditions of timing: `settings_context`, inference mode, and no garbage collection."""
    with settings_context(settings) as context, torch.inference_mode(), _no_collection():
        yield context


@contextmanager
def settings_context(settings: LatencySettings) -> Iterator[dict[str, Any]]:
    """Set `settings.threads` threads and full float32 precision (TF32 off); yield what a latency depends on."""
    device = device_of(settings.device)
    before = torch.get_num_threads()
    try:
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        with full_float32():
            yield {
                "threads": torch.get_num_threads(),
                "dtype": settings.dtype,
                "device": str(device),
                "channels_last": settings.channels_last,
                "affinity": busy.affinity(),
            }
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _timed(name: str, function: Function, wait: Callable[[], object]) -> float:
    try:
        wait()
        start = time.perf_counter_ns()
        function()
        wait()
        return (time.perf_counter_ns() - start) / 1e9
    except Exception as error:
        reason = " ".join(str(error).split())
        raise FailedError(f"{name} failed while it was timed: {type(error).__name__}: {reason}") from error


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect garbage first, then turn collection off: it would slow down whichever function is running."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _check(functions: Mapping[str, Function], settings: LatencySettings) -> None:
    if not functions:
        raise InputError("functions: got none; expected at least one function to time")
    for field, minimum in (("warmup_runs", 0), ("min_runs", 1), ("min_seconds", 0), ("max_seconds", 0), ("threads", 1)):
        value = getattr(settings, field)
        if value is not None and not value >= minimum:
            raise InputError(f"latency.{field}: got {value!r}; expected at least {minimum}")
