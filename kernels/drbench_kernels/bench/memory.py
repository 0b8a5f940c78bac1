"""The most memory that a call holds at once beside its inputs: output, gradients and whatever it needs in between.

On a GPU it is the allocator's own count. On a CPU torch's allocator keeps none, so its profiler lists what is allocated
and freed during the call: everything that goes through torch's allocator is in it; what oneDNN, a BLAS or a kernel
takes from malloc by itself is not. Taken apart from the times.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler says two lines for each use; read at its first


def peak_extra(call: Callable[[], object], device: torch.device) -> int:
    """Bytes. The call must have run before, so that what is kept for all calls is not counted."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with torch.autograd.profiler.profile(profile_memory=True, use_kineto=True) as profiler:
        kept = call()
    found = profiler.kineto_results
    assert found is not None
    changes = sorted((event.start_ns(), event.nbytes()) for event in found.events() if event.name() == "[memory]")
    del kept
    held = most = 0
    for _, change in changes:
        held += change
        most = max(most, held)
    return most
