"""Every shipped Triton kernel, built without a GPU for each target: nothing spills, and shared memory fits.

Representative: one 1x1 and one 3x3 layer whose channels fill no tile, in channels_last, with a guide that learns, by
region and by expert; every mask is then needed. `python -m drbench_kernels.gpu.aot` builds more shapes.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed"),
    pytest.mark.skipif(sys.platform != "linux", reason="triton builds on Linux"),
]


@pytest.mark.parametrize("target", ["sm_80", "sm_90", "gfx942"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_nothing_spills(dtype: torch.dtype, target: str) -> None:
    from drbench_kernels.gpu import aot

    shapes = (aot.Shape(58, 58, 28, 1), aot.Shape(58, 58, 28, 3))
    built = list(aot.builds(shapes, (dtype,), (target,)))
    table = "\n".join(map(aot.row, built))
    print(table)  # shown by pytest -s
    kernels = {build.kernel.removesuffix(" (experts)") for build in built}
    assert kernels == {
        "region_forward",
        "expert_forward",
        "mix",
        "pointwise_backward",
        "score",
        "gather",
        "filter_gradient",
    }
    assert all(build.registers > 0 for build in built), table
    assert not any(build.spills for build in built), table
    assert max(build.shared for build in built) <= aot.SHARED_MEMORY[target], table


def test_an_unknown_target_is_named() -> None:
    command = [sys.executable, "-m", "drbench_kernels.gpu.aot", "sm_10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "target: got 'sm_10'; expected sm_80, sm_90, gfx942\n"
