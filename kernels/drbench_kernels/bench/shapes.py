"""The layers that are measured: the pointwise layers of three mobile networks at 224 px, and a dense 3x3 set.

A shape's name says all of it: `1x1-24-58@28` is a 1x1 layer from 24 to 58 channels on a 28x28 map; `3x3-58-58@28x27s2`
is one on 28 rows of 27, with stride 2. Padding is that which keeps the size at stride 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Shape:
    """One layer: C input and O output channels, the input's height and width, an odd kernel size, a stride."""

    channels: int
    outputs: int
    height: int
    width: int
    kernel: int = 1
    stride: int = 1
    networks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Unique; `parse` reads it."""
        side = f"{self.height}" if self.height == self.width else f"{self.height}x{self.width}"
        stride = "" if self.stride == 1 else f"s{self.stride}"
        return f"{self.kernel}x{self.kernel}-{self.channels}-{self.outputs}@{side}{stride}"

    @property
    def padding(self) -> int:
        """On every side."""
        return self.kernel // 2

    @property
    def output_size(self) -> tuple[int, int]:
        """(H', W')."""
        return (self.height - 1) // self.stride + 1, (self.width - 1) // self.stride + 1

    @property
    def positions(self) -> int:
        """H' * W'."""
        return self.output_size[0] * self.output_size[1]

    @property
    def filter_size(self) -> int:
        """Elements of one filter: O * C * k * k."""
        return self.outputs * self.channels * self.kernel**2


V1, V2, S05, S10 = "mobilenet_v1", "mobilenet_v2", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0"
R18, R50 = "resnet18", "resnet50"

# (C, O, side, the networks that have such a layer); tests/kernels/test_bench_shapes.py walks the networks themselves
_POINTWISE: tuple[tuple[int, int, int, tuple[str, ...]], ...] = (
    (16, 96, 112, (V2,)),
    (32, 16, 112, (V2,)),
    (32, 64, 112, (V1,)),
    (24, 24, 56, (S05,)),
    (24, 58, 56, (S10,)),
    (24, 144, 56, (V2,)),
    (64, 128, 56, (V1,)),
    (96, 24, 56, (V2,)),
    (128, 128, 56, (V1,)),
    (144, 24, 56, (V2,)),
    (24, 24, 28, (S05,)),
    (24, 58, 28, (S10,)),
    (32, 192, 28, (V2,)),
    (48, 48, 28, (S05,)),
    (58, 58, 28, (S10,)),
    (116, 116, 28, (S10,)),
    (128, 256, 28, (V1,)),
    (144, 32, 28, (V2,)),
    (192, 32, 28, (V2,)),
    (256, 256, 28, (V1,)),
    (48, 48, 14, (S05,)),
    (64, 384, 14, (V2,)),
    (96, 96, 14, (S05,)),
    (96, 576, 14, (V2,)),
    (116, 116, 14, (S10,)),
    (192, 64, 14, (V2,)),
    (232, 232, 14, (S10,)),
    (256, 512, 14, (V1,)),
    (384, 64, 14, (V2,)),
    (384, 96, 14, (V2,)),
    (512, 512, 14, (V1,)),
    (576, 96, 14, (V2,)),
    (96, 96, 7, (S05,)),
    (160, 960, 7, (V2,)),
    (192, 1024, 7, (S05,)),
    (232, 232, 7, (S10,)),
    (320, 1280, 7, (V2,)),
    (464, 1024, 7, (S10,)),
    (512, 1024, 7, (V1,)),
    (576, 160, 7, (V2,)),
    (960, 160, 7, (V2,)),
    (960, 320, 7, (V2,)),
    (1024, 1024, 7, (V1,)),
)
_DENSE: tuple[tuple[int, int, int, tuple[str, ...]], ...] = (
    (64, 64, 56, (R18, R50)),
    (128, 128, 28, (R18, R50)),
    (256, 256, 14, (R18, R50)),
    (512, 512, 7, (R18, R50)),
    (58, 58, 28, ()),  # no network's: channel counts that fill no vector
    (116, 116, 14, ()),
)
SETS: dict[str, tuple[Shape, ...]] = {
    "pointwise": tuple(Shape(c, o, side, side, 1, 1, networks) for c, o, side, networks in _POINTWISE),
    "3x3": tuple(Shape(c, o, side, side, 3, 1, networks) for c, o, side, networks in _DENSE),
}
SETS["all"] = SETS["pointwise"] + SETS["3x3"]
QUICK = ("1x1-24-24@56", "1x1-58-58@28", "1x1-116-116@14", "1x1-512-512@14", "1x1-232-232@7", "3x3-58-58@28")

_NAME = re.compile(r"([1-9]\d*)x\1-([1-9]\d*)-([1-9]\d*)@([1-9]\d*)(?:x([1-9]\d*))?(?:s([1-9]\d*))?")


def parse(name: str) -> Shape | None:
    """The shape of this name, in a network or not; None where it is no name of a shape."""
    found = _NAME.fullmatch(name)
    if found is None or int(found[1]) % 2 == 0:
        return None
    kernel, channels, outputs, height = (int(found[group]) for group in range(1, 5))
    return Shape(channels, outputs, height, int(found[5] or height), kernel, int(found[6] or 1))


def choose(patterns: Sequence[str], shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Those that some pattern (a glob, or a shape's name) fits, in table order; shapes in no table come last.

    ValueError for a pattern that fits none.
    """
    wanted: dict[str, Shape] = {}
    for pattern in patterns:
        fitting = [shape for shape in shapes if fnmatchcase(shape.name, pattern)]
        other = parse(pattern)
        if not fitting and other is not None:
            fitting = [next((shape for shape in SETS["all"] if shape.name == other.name), other)]
        if not fitting:
            raise ValueError(
                f"--shapes {pattern!r} fits none of {len(shapes)} shapes: `python -m drbench_kernels.bench --list` "
                "shows them, and 1x1-24-58@28 names any"
            )
        wanted.update((shape.name, shape) for shape in fitting)
    order = [shape.name for shape in shapes]
    return tuple(
        sorted(wanted.values(), key=lambda shape: order.index(shape.name) if shape.name in order else len(order))
    )
