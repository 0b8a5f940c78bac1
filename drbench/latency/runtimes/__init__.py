"""Runtimes: what computes a network while it is timed. A new runtime is a file here and a line in RUNTIMES."""

from __future__ import annotations

from collections.abc import Mapping

from drbench.latency.runtimes.runtime import Function, Prepared, Runtime
from drbench.latency.runtimes.torch import TorchRuntime

__all__ = ["RUNTIMES", "Function", "Prepared", "Runtime"]

RUNTIMES: Mapping[str, Runtime] = {"torch": TorchRuntime()}
