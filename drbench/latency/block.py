"""One block of a latency measurement, in one process: a plain network, a copy of it and a variant take turns.

The copy is built as the plain network was, from the same seed. What it takes more or less is no effect of anything:
it is the floor, of the same rounds, under what the variant can be told from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from drbench.latency import busy, timer
from drbench.latency.turns import COPY, PLAIN, VARIANT
from drbench.measure import kernels
from drbench.operators import DRConv2d
from drbench.records import Event, LatencySettings, Variant
from drbench.tasks import networks


class Network:
    """A variant as it is timed: weights as initialised, in evaluation mode, on its device, in its memory format."""

    def __init__(self, variant: Variant, settings: LatencySettings) -> None:
        kernels.refresh()
        self.variant, self.settings = variant, settings
        self.device, self.dtype = timer.device_of(settings), getattr(torch, settings.dtype)
        self.layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        model = networks.build(variant, seed=0).eval().to(device=self.device, dtype=self.dtype)
        self.model = model.to(memory_format=self.layout)
        self.regions = any(isinstance(module, DRConv2d) for module in self.model.modules())

    def call(self, size: int) -> Callable[[], object]:
        """Inference of so many images of noise, the same in every process."""
        images = torch.randn(size, *self.variant.input_shape, generator=torch.Generator().manual_seed(0))
        given = images.to(device=self.device, dtype=self.dtype, memory_format=self.layout)

        def forward() -> object:
            with torch.inference_mode():
                return self.model(given)

        return forward

    def about(self) -> dict[str, Any]:
        """What its time depends on beside the settings: the kernels of its region convolutions, if it has any."""
        return {"kernels": kernels.in_words(self.device, self.dtype)} if self.regions else {}


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
    watch = busy.Watch()
    with timer.settings_context(settings) as context:
        networks = {seat: Network(which, settings) for seat, which in asked.items() if which is not None}
        samples = {}
        for size in settings.batch_sizes:
            say(Event("step", f"batch {size}"))
            samples[size] = timer.measure({seat: one.call(size) for seat, one in networks.items()}, settings)
    about = {seat: one.about() for seat, one in networks.items()}
    return {"samples": samples, "context": context, "about": about, "load": watch.load()}
