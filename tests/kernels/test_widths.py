"""The native kernels of every vector width, those of other processors too, compiled with GCC's vector extensions.

Those of NEON (128 bits) and AVX-512 are made of what this processor has; tiles, panels and ends are theirs. Not covered
are the intrinsics of processors that are not here, for partial loads and sums: a few lines of vector.h.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from drbench_kernels.native.build import SOURCE, compiler

HARNESS = Path(__file__).with_name("widths.cpp")
COMPILER = compiler()


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
@pytest.mark.parametrize("width", [16, 64])
def test_a_width_agrees_with_loops_in_double(width: int, tmp_path: Path) -> None:
    assert COMPILER is not None
    program = tmp_path / "widths"
    names = [f"-DDRBENCH_VECTOR_BYTES={width}", "-DDRBENCH_TABLE=tested", "-DDRBENCH_TESTED=tested_kernels"]
    declared = tmp_path / "declared.h"
    declared.write_text('#include "problem.h"\nnamespace drbench { extern const Kernels tested_kernels; }\n')
    sources = [str(HARNESS), str(SOURCE / "kernels.cpp")]
    flags = ["-std=c++20", "-O1", "-w", f"-I{SOURCE}", "-include", str(declared)]
    subprocess.run([COMPILER.path, *flags, *names, *sources, "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "192 shapes" in done.stdout
