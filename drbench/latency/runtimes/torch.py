"""PyTorch runtime: runs the network as it was built, eagerly, in evaluation and inference mode."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from drbench.devices import device_of
from drbench.latency.runtimes.runtime import Function
from drbench.measure import kernels
from drbench.records import LatencySettings


class TorchNetwork:
    """Prepared: the network as built, on the device and in the dtype and memory format of the settings."""

    def __init__(self, model: nn.Module, settings: LatencySettings, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self.device, self.dtype = device_of(settings.device), getattr(torch, settings.dtype)
        self.layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        converted = model.eval().to(device=self.device, dtype=self.dtype)
        self.model = converted.to(memory_format=self.layout)

    def call(self, size: int) -> Function:
        """See Prepared.call. The images are noise from seed 0."""
        images = torch.randn(size, *self.shape, generator=torch.Generator().manual_seed(0))
        batch = images.to(device=self.device, dtype=self.dtype, memory_format=self.layout)

        def forward() -> object:
            with torch.inference_mode():
                return self.model(batch)

        return forward

    def about(self) -> dict[str, Any]:
        """See Prepared.about: the kernels of its operators, if these name any."""
        return kernels.of_model(self.model, self.device, self.dtype)


class TorchRuntime:
    """The Runtime of PyTorch."""

    def prepare(self, model: nn.Module, settings: LatencySettings, shape: tuple[int, int, int]) -> TorchNetwork:
        """See Runtime.prepare."""
        return TorchNetwork(model, settings, shape)

    def wait(self, device: torch.device) -> Function:
        """See Runtime.wait; on a CPU the function does nothing."""
        if device.type == "cpu":
            return lambda: None
        return lambda: torch.accelerator.synchronize(device)
