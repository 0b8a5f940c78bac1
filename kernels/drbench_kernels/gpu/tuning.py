"""Optional: the fastest tile sizes, measured once per shape on the device at hand. DRBENCH_AUTOTUNE=1 switches it on.

The key is the kernel, the dtypes and the shape's constants, but neither batch nor image size. A shape that was not
measured before a CUDA graph is captured runs as configured. Off by default: measuring makes the order of additions, and
so the last bits, depend on the machine.
"""

# Triton has no types.
# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.testing
from torch import Tensor

from drbench_kernels.gpu.configs import Config

if TYPE_CHECKING:
    from drbench_kernels.gpu.launch import Call

_best: dict[Any, Config] = {}


def wanted(input: Tensor) -> bool:
    """Whether to measure: asked for by the environment, and there is a GPU to measure."""
    return os.environ.get("DRBENCH_AUTOTUNE") == "1" and input.device.type == "cuda"


def candidates(call: Call) -> list[Config]:
    """The stored configuration first, then its neighbours: half and twice each size, other warps and stages."""
    base = call.config_on(torch.version.hip is not None)
    found = [base]
    for field in ("outputs", "channels") if call.fixed else ("positions", "outputs", "channels"):
        size = getattr(base, field)
        found += [replace(base, **{field: other}) for other in (size // 2, size * 2) if 16 <= other <= 128]
    return [
        replace(config, warps=warps, stages=stages) for config in found for warps in (4, 8) for stages in (1, 2, 3, 4)
    ]


def best(call: Call) -> Config:
    """The fastest candidate for this kernel and shape; every launch writes the same results, so trying is harmless."""
    dtypes = tuple(str(a.dtype) for a in call.arguments if isinstance(a, Tensor))
    key = (call.kernel.fn.__name__, dtypes, tuple(call.all_constants(call.config).items()), call.input.device)
    if key not in _best:
        if torch.cuda.is_current_stream_capturing():
            return call.config_on(torch.version.hip is not None)
        _best[key] = min(candidates(call), key=lambda config: _milliseconds(call, config))
    return _best[key]


def _milliseconds(call: Call, config: Config) -> float:
    try:
        return float(triton.testing.do_bench(lambda: call.run(config), warmup=5, rep=20))
    except triton.runtime.errors.OutOfResources:  # more shared memory, or registers, than the device has
        return float("inf")
