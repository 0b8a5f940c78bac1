"""One block of a latency measurement, in one process: a plain network, a copy of it and a variant take turns.

The copy is built like the plain network, from the same seed. Its ratio to the plain network, from the same rounds, is
the floor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drbench.devices import device_of
from drbench.latency import busy, timer
from drbench.latency.runtimes import RUNTIMES, Prepared
from drbench.latency.turns import COPY, PLAIN, VARIANT
from drbench.measure import kernels
from drbench.records import Event, LatencySettings, Variant
from drbench.tasks import networks

RUNTIME = RUNTIMES["torch"]


def prepared(variant: Variant, settings: LatencySettings) -> Prepared:
    """Build a variant with initial weights from seed 0 and prepare it for timing."""
    kernels.refresh()
    return RUNTIME.prepare(networks.build(variant, seed=0), settings, variant.input_shape)


def block(
    plain: Variant | None, variant: Variant | None, settings: LatencySettings, *, say: Callable[[Event], None]
) -> dict[str, Any]:
    """Time `plain` with its copy, and `variant`, in turns, at every batch size. Either may be None.

    Returns:
        "samples": batch size -> "plain", "copy", "variant" -> the seconds of each call, by turn; "context": what the
        times depend on; "about": by seat, the kernels of the network; "load": other load on the machine.

    Raises:
        DrbenchError: the device does not exist, or a network failed during timing.
        Exception: anything that building a network raises.
    """
    variants = {PLAIN: plain, COPY: plain, VARIANT: variant}
    watch = busy.LoadWatch()
    with timer.settings_context(settings) as context:
        timed = {seat: prepared(network, settings) for seat, network in variants.items() if network is not None}
        wait = RUNTIME.wait(device_of(settings.device))
        samples = {}
        for size in settings.batch_sizes:
            say(Event("step", f"batch {size}"))
            calls = {seat: network.call(size) for seat, network in timed.items()}
            samples[size] = timer.measure(calls, settings, wait=wait)
    about = {seat: network.about() for seat, network in timed.items()}
    return {"samples": samples, "context": context, "about": about, "load": watch.load()}
