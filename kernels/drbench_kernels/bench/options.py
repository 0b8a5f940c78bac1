"""The command line -> Settings, all of it checked before anything is measured."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import torch

from drbench_kernels.bench.document import BenchError
from drbench_kernels.bench.problem import MASKS
from drbench_kernels.bench.shapes import QUICK, SETS, Shape, choose
from drbench_kernels.bench.ways import LAYER, WAYS, Way, layer_way

PASSES = ("forward", "forward+backward")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FORMATS = ("channels_last", "contiguous")
MOST: Mapping[str, float] = {
    "batch_sizes": 2**24,
    "regions": 4096,
    "experts": 4096,
    "threads": 65_536,
    "rounds": 10_000_000,
    "max_seconds": 1e9,
    "call_seconds": 1e9,
    "memory_gib": 2.0**20,
}
"""Upper bounds that no real use reaches."""


@dataclass(frozen=True)
class Settings:
    """All that the figures depend on, except machine and code. Two runs of equal settings are comparable."""

    shapes: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    passes: tuple[str, ...]
    ways: tuple[str, ...]
    layer: str
    device: str
    dtype: str
    memory_format: str
    masks: str
    regions: int
    experts: int
    threads: int
    max_seconds: float
    rounds: int
    call_seconds: float
    memory_gib: float
    graph: bool
    flush_l2: bool

    def as_json(self) -> dict[str, Any]:
        """With lists for tuples, as it is read back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Settings:
        """From what `as_json` gave. BenchError where that is not whole."""
        made: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in table.items()}
        try:
            settings = cls(**made)
        except TypeError as error:
            raise BenchError(f"settings are not those of this benchmark: {error}") from error
        for name, value in asdict(settings).items():
            if not _allowed(name, value):
                raise BenchError(f"settings are not those of this benchmark: {name} is {value!r:.80}")
        return settings

    def chosen(self) -> tuple[Shape, ...]:
        """The shapes."""
        return choose(self.shapes, SETS["all"])

    def registry(self) -> dict[str, Way]:
        """The chosen ways, in the order of the registry; the layer comes last."""
        name, layer = layer_way(self.layer)
        return {way: made for way, made in {**WAYS, name: layer}.items() if way in self.ways}


def _allowed(name: str, value: Any) -> bool:
    """Whether a setting that was read has the type and the size of one that was checked."""
    if name in ("shapes", "batch_sizes", "passes", "ways"):
        kind: type = int if name == "batch_sizes" else str
        return isinstance(value, tuple) and 0 < len(value) <= 10_000 and all(_one(name, kind, one) for one in value)
    kinds = {"graph": bool, "flush_l2": bool, "regions": int, "experts": int, "threads": int, "rounds": int}
    return _one(name, kinds.get(name, float if name in MOST else str), value)


def _one(name: str, kind: type, value: Any) -> bool:
    wanted = (int, float) if kind is float else (kind,)  # TOML and JSON write 20.0 as they like
    if type(value) not in wanted:
        return False
    return name not in MOST or 0 < value <= MOST[name]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BenchError(f"{message} (--help shows how)")


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = _Parser(
        prog="python -m drbench_kernels.bench",
        description="Time the region convolution, the plain convolution and other implementations, layer by layer.",
    )
    add = made.add_argument
    add("--json", type=Path, metavar="FILE", help="where the results go, raw samples and all; written after every case")
    add("--resume", action="store_true", help="go on with FILE: what it holds is not measured again")
    add("--force", action="store_true", help="replace FILE if it is there")
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--dtype", default="float32", choices=DTYPES)
    add("--batch-sizes", help="as in 1,32,128, which they are by default (with --quick 1,32)")
    add("--set", default="pointwise", choices=SETS, dest="set_", help="which shapes")
    add("--shapes", default="*", help="of these only: globs or names, as in '1x1-*@28,3x3-58-58@28'; any name will do")
    add("--passes", default=",".join(PASSES), help="forward, forward+backward, or both")
    add("--ways", default="*", help="globs over the ways; conv and nn.Conv2d are always there")
    add("--layer", default=LAYER, help="the layer to compare with nn.Conv2d, as package.module:callable")
    add("--regions", type=int, default=8)
    add("--experts", type=int, default=8)
    add("--masks", default="smooth", choices=MASKS, help="what the region maps look like")
    add("--memory-format", default="channels_last", choices=FORMATS)
    add("--threads", type=int, help="CPU threads")
    add("--max-seconds", type=float, default=0.15, help="of samples for each way of each case")
    add("--rounds", type=int, default=100, help="at most so many samples for each way of each case")
    add(
        "--call-seconds",
        type=float,
        default=1.0,
        help="bmm, all-and-pick, sort-gemm: skipped where a call takes longer",
    )
    add("--memory-gib", type=float, help="a way is skipped where it needs more; a quarter of the memory")
    add("--graph", action="store_true", help="on a GPU: time CUDA graphs of several calls")
    add("--flush-l2", action="store_true", help="on a GPU: with an empty L2 cache before every sample")
    add("--quick", action="store_true", help="six shapes at batch sizes 1 and 32: about two minutes on two cores")
    add("--list", action="store_true", help="show the shapes and ways, and measure nothing")
    return made


def checked(given: argparse.Namespace, memory_bytes: int) -> Settings:
    """What was asked for. BenchError names the option that is wrong."""
    device = _device(given.device)
    _check(given, device)
    wanted = SETS[given.set_]
    batches = _numbers("--batch-sizes", given.batch_sizes or ("1,32" if given.quick else "1,32,128"))
    if given.quick:
        wanted = tuple(one for one in SETS["all"] if one.name in QUICK)
    if device == "cuda":
        memory_bytes = torch.cuda.get_device_properties(0).total_memory * 2
    try:
        chosen = choose(given.shapes.split(","), wanted)
    except ValueError as error:
        raise BenchError(str(error)) from error
    return Settings(
        shapes=tuple(shape.name for shape in chosen),
        batch_sizes=batches,
        passes=_named("--passes", given.passes, PASSES),
        ways=_ways(given.ways, given.layer),
        layer=given.layer,
        device=device,
        dtype=given.dtype,
        memory_format=given.memory_format,
        masks=given.masks,
        regions=given.regions,
        experts=given.experts,
        threads=given.threads or torch.get_num_threads(),
        max_seconds=given.max_seconds,
        rounds=given.rounds,
        call_seconds=given.call_seconds,
        memory_gib=given.memory_gib or round(memory_bytes / 4 / 2**30, 1),
        graph=given.graph,
        flush_l2=given.flush_l2,
    )


def _check(given: argparse.Namespace, device: str) -> None:
    for name in ("regions", "experts", "threads", "rounds", "max_seconds", "call_seconds", "memory_gib"):
        value = getattr(given, name)
        if value is not None and not 0 < value <= MOST[name]:
            raise BenchError(f"--{name.replace('_', '-')} {value}: must be over 0 and at most {MOST[name]:,}")
    if device != "cuda" and (given.graph or given.flush_l2):
        raise BenchError(f"--graph and --flush-l2 are for a GPU, the device is {device}")
    if given.resume and given.json is None:
        raise BenchError("--resume needs --json FILE, the file to go on with")
    if given.resume and given.force:
        raise BenchError("--resume and --force: one or the other")
    if ":" not in given.layer:
        raise BenchError(f"--layer {given.layer!r}: give package.module:callable")
    if given.layer != LAYER:  # ours is skipped, with the reason, where drbench is not installed
        module, _, attribute = given.layer.partition(":")
        try:
            getattr(import_module(module), attribute)
        except Exception as error:  # whatever somebody's module does when it is imported
            raise BenchError(f"--layer {given.layer!r}: {type(error).__name__}: {error}") from error


def _device(name: str) -> str:
    there = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "auto":
        return there
    if name not in ("cpu", "cuda"):
        raise BenchError(f"--device {name!r}: auto, cpu or cuda")
    if name == "cuda" and there != "cuda":
        raise BenchError("--device cuda: torch sees no GPU on this machine")
    return name


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if not all(0 < number <= MOST["batch_sizes"] for number in numbers):
        raise BenchError(f"{option} {text!r}: give whole numbers from 1 to {MOST['batch_sizes']:,}, as in 1,32")
    return tuple(dict.fromkeys(numbers))


def _named(option: str, text: str, names: Sequence[str]) -> tuple[str, ...]:
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if part not in names:
            raise BenchError(f"{option} {part!r}: {', '.join(names)}")
    return tuple(name for name in names if name in parts)


def _ways(text: str, layer: str) -> tuple[str, ...]:
    """What fits a glob, and what that is compared with."""
    registry = {**WAYS, **dict([layer_way(layer)])}
    chosen: set[str] = set()
    for pattern in text.split(","):
        fitting = [name for name in registry if fnmatchcase(name, pattern.strip())]
        if not fitting:
            raise BenchError(f"--ways {pattern!r} fits none of {', '.join(registry)}")
        chosen.update(fitting)
    chosen |= {registry[name].reference for name in chosen}
    return tuple(name for name in registry if name in chosen)
