"""Builds of the shipped kernels without a GPU: registers, spills and shared memory on every target.

    python -m drbench_kernels.gpu.aot [sm_80 sm_90 gfx942]

prints a table. The launches are those that the public functions make for some layer shapes, recorded on tensors without
data; a build is specialised as a launch would specialise it.
"""

# Triton has no types.
# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from drbench_kernels.geometry import Geometry
from drbench_kernels.gpu import expert, region
from drbench_kernels.gpu.launch import Call, recording

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
SHARED_MEMORY = {"sm_80": 163 * 1024, "sm_90": 227 * 1024, "gfx942": 64 * 1024}

_TYPES = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int32: "*i32",
    torch.int64: "*i64",
}


@dataclass(frozen=True)
class Shape:
    """A layer: channels, outputs, side of the square image, and of the filter; stride, groups."""

    channels: int
    outputs: int
    side: int
    kernel: int
    stride: int = 1
    groups: int = 1

    def __str__(self) -> str:
        return f"{self.channels}->{self.outputs} {self.kernel}x{self.kernel} at {self.side}"


# Channels that fill no tile, as ShuffleNetV2's, and more than one tile of each; and a 3x3 of each kind.
SHAPES = (Shape(58, 58, 28, 1), Shape(232, 232, 7, 1), Shape(58, 58, 28, 3), Shape(256, 256, 14, 3))
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Build:
    """What one kernel takes on one target. Spills are bytes a thread on NVIDIA, registers on AMD."""

    kernel: str
    shape: str
    dtype: str
    target: str
    registers: int
    spills: int
    shared: int


def calls_of(shape: Shape, dtype: torch.dtype, regions: int = 8, experts: int = 8) -> list[Call]:
    """Every launch of forward and backward, by region and by expert: a batch in channels_last, a guide that learns."""
    pad = shape.kernel // 2
    geometry = Geometry((shape.stride, shape.stride), (pad, pad), (1, 1), shape.groups)
    meta: dict[str, Any] = {"dtype": dtype, "device": "meta"}
    n, kernel = 128, (shape.kernel, shape.kernel)
    input = torch.empty(n, shape.channels, shape.side, shape.side, **meta).to(memory_format=torch.channels_last)
    size = geometry.output_size(shape.side, shape.side, kernel)
    guide = torch.empty(n, regions, *size, device="meta")
    bank = torch.empty(experts, shape.outputs, shape.channels // shape.groups, *kernel, **meta)
    coefficients = torch.empty(n, regions, experts, device="meta")
    bias = torch.empty(shape.outputs, **meta)
    with recording() as calls:
        filters = expert.mix(bank, coefficients)
        output = region.region_forward(input, filters, guide, bias, geometry)
        region.region_backward(output, input, filters, guide, geometry, True)
        expert.by_expert_forward(input, bank, coefficients, guide, bias, geometry)
        expert.by_expert_backward(output, input, bank, coefficients, guide, geometry, True)
    return calls


def compile_call(call: Call, target: GPUTarget) -> Any:
    """The compiled kernel of a launch, specialised as the launch would be."""
    constants = call.all_constants(call.config)
    signature: dict[str, str] = {}
    attributes: dict[tuple[int, ...], list[list[Any]]] = {}
    names = call.kernel.arg_names
    for index, (name, value) in enumerate(zip(names, call.arguments, strict=False)):
        if value is None or (isinstance(value, int) and value == 1):
            constants[name] = value
        elif isinstance(value, Tensor):
            signature[name] = _TYPES[value.dtype]
            attributes[(index,)] = [["tt.divisibility", 16]]
        else:
            signature[name] = "i32" if value < 2**31 else "i64"
            if value % 16 == 0:
                attributes[(index,)] = [["tt.divisibility", 16]]
    ordered = {name: signature.get(name, "constexpr") for name in names}
    source = ASTSource(call.kernel, ordered, constants, attributes)
    config = call.config_on(target.backend == "hip")
    options = {"num_warps": config.warps, "num_stages": config.stages}
    return triton.compile(source, target=target, options=options)


def measure(compiled: Any) -> tuple[int, int, int]:
    """Registers a thread, spills, bytes of shared memory."""
    shared = int(compiled.metadata.shared)
    if "amdgcn" in compiled.asm:
        text = compiled.asm["amdgcn"]
        found = {
            name: int(re.search(rf"\.{name}:\s+(\d+)", text).group(1))  # type: ignore[union-attr]
            for name in ("vgpr_count", "vgpr_spill_count", "sgpr_spill_count")
        }
        return found["vgpr_count"], found["vgpr_spill_count"] + found["sgpr_spill_count"], shared
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder, "kernel.cubin")
        binary.write_bytes(compiled.asm["cubin"])
        command = [str(tool), "--dump-resource-usage", str(binary)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    usage = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", text)}
    return usage["REG"], usage["STACK"] + usage["LOCAL"], shared


def builds(
    shapes: Sequence[Shape] = SHAPES, dtypes: Sequence[torch.dtype] = DTYPES, targets: Sequence[str] = tuple(TARGETS)
) -> Iterator[Build]:
    """Every launch of every shape and dtype, on every target."""
    for shape in shapes:
        for dtype in dtypes:
            for call in calls_of(shape, dtype):
                for target in targets:
                    figures = measure(compile_call(call, TARGETS[target]))
                    yield Build(title(call), str(shape), str(dtype).removeprefix("torch."), target, *figures)


def title(call: Call) -> str:
    """The kernel's name, and which design it is built for where it serves both."""
    name = str(call.kernel.fn.__name__).removesuffix("_kernel")
    return f"{name} (experts)" if call.constants.get("EXPERTS") else name


def row(build: Build) -> str:
    """One line of the table."""
    return (
        f"{build.kernel:<28} {build.shape:<20} {build.dtype:<9} {build.target:<7} "
        f"{build.registers:>4} registers {build.spills:>4} spills {build.shared:>7} B shared"
    )


def main(targets: Sequence[str]) -> int:
    """Print the table; 1 if anything spills, 2 for a target that is none."""
    unknown = [target for target in targets if target not in TARGETS]
    if unknown:
        print(f"target: got {unknown[0]!r}; expected {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    spilled = 0
    for build in builds(targets=targets or tuple(TARGETS)):
        print(row(build), flush=True)
        spilled += build.spills > 0
    return int(spilled > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
