"""One block of a latency measurement, in one process: a plain network, a copy of it and a variant take turns.

The copy is built as the plain network was, from the same seed. What it takes more or less is no effect of anything:
it is the floor, of the same rounds, under what the variant can be told from.
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
    """A variant that is ready to be timed, with weights as initialised from seed 0."""
    kernels.refresh()
    return RUNTIME.prepare(networks.build(variant, seed=0), settings, variant.input_shape)


def block(
    plain: Variant | None, variant: Variant | None, settings: LatencySettings, *, say: Callable[[Event], None]
) -> dict[str, Any]:
    """Time what is given: `plain` with its copy, and `variant`, in turns, at every batch size.

    Returns:
        "samples": batch size -> "plain", "copy", "variant" -> turns of seconds; "context": what the times depend on;
        "about": of each, its kernels; "load": what else the machine did.

    Raises:
        DrbenchError: a device that is not there; a network that failed under way.
        Exception: whatever building a network raises.
    """
    asked = {PLAIN: plain, COPY: plain, VARIANT: variant}
    watch = busy.LoadWatch()
    with timer.settings_context(settings) as context:
        timed = {seat: prepared(which, settings) for seat, which in asked.items() if which is not None}
        wait = RUNTIME.wait(device_of(settings.device))
        samples = {}
        for size in settings.batch_sizes:
            say(Event("step", f"batch {size}"))
            samples[size] = timer.measure({seat: one.call(size) for seat, one in timed.items()}, settings, wait=wait)
    about = {seat: one.about() for seat, one in timed.items()}
    return {"samples": samples, "context": context, "about": about, "load": watch.load()}
