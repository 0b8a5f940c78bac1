"""The kernels that operators take: built before anything is timed, and named in what is recorded.

An operator offers both by methods of its class, see drbench.operators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from drbench_kernels import native
from torch import nn


def build_first(operators: Iterable[object], device: torch.device, say: Callable[[str], object]) -> None:
    """Have each operator build the kernels that it will use on `device`; `say` gets progress, or one warning."""
    for operator in operators:
        build = getattr(operator, "build_kernels", None)
        if callable(build):
            build(device, say)


def refresh() -> None:
    """In a worker: load the native kernels that were built since its server was started."""
    native.refresh()


def of_model(model: nn.Module, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """{"kernels": what computes the network's operators, as "native avx2"}; {} where none of them says so."""
    kinds: set[Any] = {type(module) for module in model.modules()}
    offered = (kind for kind in kinds if callable(getattr(kind, "kernels_used", None)))
    used = {kind.kernels_used(device, dtype) for kind in offered}
    return {"kernels": ", ".join(sorted(used))} if used else {}
