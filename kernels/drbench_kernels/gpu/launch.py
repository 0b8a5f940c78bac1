"""From tensors to a launch: the constants of a shape, the device, the arithmetic, and the launch itself.

Nothing here waits for the device or looks at data, so a launch can be captured in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from drbench_kernels.columns import is_channels_last
from drbench_kernels.geometry import Geometry
from drbench_kernels.gpu import tuning
from drbench_kernels.gpu.configs import Config

_WIDE = 2**31


@dataclass(frozen=True)
class Call:
    """One launch: positional tensors (or None) and integers, then compile-time constants.

    `programs` follows from the tile sizes. Where memory was laid out for a tile of positions, that size is `fixed`.
    """

    kernel: Any
    arguments: tuple[Tensor | int | None, ...]
    constants: dict[str, Any]
    config: Config
    programs: Callable[[Config], int]
    input: Tensor
    fixed: bool = False

    def run(self, config: Config) -> None:
        """Launch on the current stream of the input's device."""
        device, programs = self.input.device, self.programs(config)
        if programs:
            with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
                self.kernel[(programs,)](
                    *self.arguments,
                    **self.all_constants(config),
                    num_warps=config.warps,
                    num_stages=config.stages,
                )

    def config_on(self, amd: bool) -> Config:
        """The configuration; for a filter larger than 1x1, on AMD's GPUs eight warps and no overlapped loads.

        Otherwise the masks of the tiles need more scalar registers than there are.
        """
        larger = self.constants.get("KH", 1) * self.constants.get("KW", 1) > 1
        return replace(self.config, warps=8, stages=1) if amd and larger else self.config

    def all_constants(self, config: Config) -> dict[str, Any]:
        """Those of the shape, the tile sizes and the arithmetic, as far as the kernel knows them."""
        sizes = {"BLOCK_P": config.positions, "BLOCK_O": config.outputs, "BLOCK_C": config.channels}
        constants = {**self.constants, **sizes, "PRECISION": precision(self.input)}
        return {name: value for name, value in constants.items() if name in self.kernel.arg_names}


_recording: list[Call] | None = None


@contextmanager
def recording() -> Iterator[list[Call]]:
    """Launches are listed and not made: with tensors on `meta`, what a shape would launch."""
    global _recording
    before, calls = _recording, list[Call]()
    _recording = calls
    try:
        yield calls
    finally:
        _recording = before


def launch(call: Call) -> None:
    """Run, or record, one call; a call without programs has nothing to do."""
    if _recording is not None:
        _recording.append(call)
    else:
        call.run(tuning.best(call) if tuning.wanted(call.input) else call.config_on(torch.version.hip is not None))


def dense(tensor: Tensor, last: bool = False) -> tuple[Tensor, bool]:
    """The tensor in one of the two memory formats, and whether that is channels_last; copied only if in neither."""
    if not tensor.is_contiguous() and not is_channels_last(tensor):
        tensor = tensor.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    return tensor, is_channels_last(tensor)


def pack(filters: Tensor) -> Tensor:
    """The same filters (..., O, C/g, kh, kw), in memory (..., O, kh, kw, C/g); copied only if they are not so already.

    Kernels read filters along channels; a 3x3 filter as it comes has its channels 9 elements apart.
    """
    if filters.shape[-2:].numel() == 1:
        return filters.contiguous()
    return filters.movedim(-3, -1).contiguous().movedim(-1, -3)


def precision(input: Tensor) -> str:
    """'tf32' where torch.backends.cuda.matmul says so for float32 matrix products (off by default), otherwise 'ieee'.

    Not the switch of cuDNN, which is on by default: float32 is float32 until somebody asks for less.
    """
    if input.dtype != torch.float32 or torch.backends.cuda.matmul.fp32_precision != "tf32":
        return "ieee"
    if torch.version.hip is not None:  # of AMD's, only gfx942 multiplies in TF32
        architecture = torch.cuda.get_device_properties(input.device).gcnArchName
        return "tf32" if architecture.startswith("gfx942") else "ieee"
    return "tf32"


def power_of_two(value: int) -> int:
    """The next power of two."""
    return 1 << max(0, value - 1).bit_length()


def guide_numbers(guide: Tensor) -> tuple[int, int, int, int]:
    """Strides (n, m, h, w) of logits, or of integer regions, whose m is 0."""
    if guide.dim() == 3:
        n, h, w = guide.stride()
        return n, 0, h, w
    n, m, h, w = guide.stride()
    return n, m, h, w


def shape_constants(
    input: Tensor, filter_shape: tuple[int, ...], out_positions: int, geometry: Geometry
) -> dict[str, Any]:
    """Channels a group, filter size and geometry; FLAT is a 1x1 filter that meets pixel p at position p.

    `filter_shape` is (O, C/groups, kh, kw).
    """
    out, depth, kh, kw = filter_shape
    sample = input.shape[1] * input.shape[2] * input.shape[3]
    largest = max(sample, out * out_positions, out * depth * kh * kw)
    (sh, sw), (ph, pw), (dh, dw) = geometry.stride, geometry.padding, geometry.dilation
    return {
        "CG": depth,
        "OG": out // geometry.groups,
        "GROUPS": geometry.groups,
        "KH": kh,
        "KW": kw,
        "SH": sh,
        "SW": sw,
        "PH": ph,
        "PW": pw,
        "DH": dh,
        "DW": dw,
        "FLAT": (kh, kw) == (1, 1) and (sh, sw) == (1, 1) and (ph, pw) == (0, 0),
        "WIDE": largest >= _WIDE,
    }
