"""The region convolution on a GPU: Triton kernels for NVIDIA and AMD. Importing this package needs triton.

    region_forward, region_backward     filters at hand (design A)
    expert_forward, expert_backward     filters mixed from experts: design A or B, as `path` says

Float32, float16 and bfloat16, added up in float32; deterministic, without atomics; no waiting for the device.
"""

from __future__ import annotations

from drbench_kernels.gpu.configs import experts_unmixed, path
from drbench_kernels.gpu.expert import expert_backward, expert_forward
from drbench_kernels.gpu.region import region_backward, region_forward

__all__ = ["expert_backward", "expert_forward", "experts_unmixed", "path", "region_backward", "region_forward"]
