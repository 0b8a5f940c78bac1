"""What a runtime defines: how a network is made ready to be timed, and how to wait for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from drbench.records import LatencySettings

Function = Callable[[], object]


class Prepared(Protocol):
    """A network that is ready to be timed."""

    def call(self, size: int) -> Function:
        """Inference of `size` samples of noise, the same in every process."""

    def about(self) -> dict[str, Any]:
        """What its time depends on beside the settings; recorded with the time."""


class Runtime(Protocol):
    """Something that computes a network's inference."""

    def prepare(self, model: nn.Module, settings: LatencySettings, shape: tuple[int, int, int]) -> Prepared:
        """The network for inputs of `shape` (C, H, W), on the device and in the dtype of the settings."""

    def wait(self, device: torch.device) -> Function:
        """A call that returns when `device` has done all that it was given."""
