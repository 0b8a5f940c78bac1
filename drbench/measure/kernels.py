"""The kernels that region operators take: built before anything is timed, and named in what is recorded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from drbench_kernels import native, paths


def build_first(device: torch.device, say: Callable[[str], object]) -> None:
    """Build the native CPU kernels where they will be used and are not there; `say` gets progress, or one warning."""
    if device.type == "cpu":
        native.ensure(say)


def refresh() -> None:
    """In a worker: take what was built since its server was started. Whether that is nothing, the run has said."""
    native.refresh()


def in_words(device: torch.device, dtype: torch.dtype) -> str:
    """What computes a region convolution of this kind: "native avx2", "triton" or "torch"."""
    path = paths.region_path(device.type, dtype)
    if path == paths.NATIVE:
        return f"native {native.kernels()}"
    return "triton" if path in (paths.TRITON_REGION, paths.TRITON_EXPERT) else "torch"
