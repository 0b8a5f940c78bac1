"""The kernels of operators: builds them before any timing, and names them for records.

An operator provides both as methods of its class (see drbench.operators).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from drbench_kernels import native
from torch import nn


def build_first(operators: Iterable[object], device: torch.device, say: Callable[[str], object]) -> None:
    """Let each operator build the kernels that it will use on `device`. `say` gets progress, or one warning."""
    for operator in operators:
        build = getattr(operator, "build_kernels", None)
        if callable(build):
            build(device, say)


def refresh() -> None:
    """In a worker: load the native kernels that were built after the start of its server."""
    native.refresh()


def of_model(model: nn.Module, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """{"kernels": the kernels of the network's operators, such as "native avx2"}; {} if no operator names any."""
    kinds: set[Any] = {type(module) for module in model.modules()}
    naming = (kind for kind in kinds if callable(getattr(kind, "kernels_used", None)))
    used = {kind.kernels_used(device, dtype) for kind in naming}
    return {"kernels": ", ".join(sorted(used))} if used else {}
