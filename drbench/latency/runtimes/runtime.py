"""The interface of a runtime: how to prepare a network for timing, and how to wait for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from drbench.records import LatencySettings

Function = Callable[[], object]


class Prepared(Protocol):
    """A network that is ready for timing."""

    def call(self, size: int) -> Function:
        """A function that runs inference on `size` samples of noise; the samples are the same in every process."""

    def about(self) -> dict[str, Any]:
        """What its latency depends on, in addition to the settings; recorded with the latency."""


class Runtime(Protocol):
    """Something that runs the inference of a network."""

    def prepare(self, model: nn.Module, settings: LatencySettings, shape: tuple[int, int, int]) -> Prepared:
        """Prepare a network for inputs of `shape` (C, H, W), on the device and in the dtype of the settings."""

    def wait(self, device: torch.device) -> Function:
        """A function that returns when `device` has finished all submitted work."""
