"""PyTorch, as the network was built: eager, in evaluation and inference mode."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from drbench.devices import device_of
from drbench.latency.runtimes.runtime import Function
from drbench.measure import kernels
from drbench.records import LatencySettings


class TorchNetwork:
    """See Prepared: a network with weights as initialised, on its device, in its memory format."""

    def __init__(self, model: nn.Module, settings: LatencySettings, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self.device, self.dtype = device_of(settings.device), getattr(torch, settings.dtype)
        self.layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        moved = model.eval().to(device=self.device, dtype=self.dtype)
        self.model = moved.to(memory_format=self.layout)

    def call(self, size: int) -> Function:
        """See Prepared."""
        images = torch.randn(size, *self.shape, generator=torch.Generator().manual_seed(0))
        given = images.to(device=self.device, dtype=self.dtype, memory_format=self.layout)

        def forward() -> object:
            with torch.inference_mode():
                return self.model(given)

        return forward

    def about(self) -> dict[str, Any]:
        """See Prepared: the kernels of its operators, where they name any."""
        return kernels.of_model(self.model, self.device, self.dtype)


class TorchRuntime:
    """See Runtime."""

    def prepare(self, model: nn.Module, settings: LatencySettings, shape: tuple[int, int, int]) -> TorchNetwork:
        """See Runtime."""
        return TorchNetwork(model, settings, shape)

    def wait(self, device: torch.device) -> Function:
        """See Runtime; nothing on a CPU."""
        if device.type == "cpu":
            return lambda: None
        return lambda: torch.accelerator.synchronize(device)
