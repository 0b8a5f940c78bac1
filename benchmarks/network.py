"""A whole network with region convolutions beside the plain one: inference of one image, and a training step.

    python benchmarks/network.py [--json FILE] [--device cpu] [--threads 2] [--graph] [--profile]

The network is ShuffleNetV2-0.5x at 224 px with m=8 in the last pointwise convolution of every right branch (recipe
last-pointwise), in channels_last. A training step of 32 images is forward, cross-entropy, backward and SGD with
momentum. Both networks take turns in one process, so ratios are of pairs: median [quartiles]. On a GPU times are CUDA
events; --graph times CUDA graphs. Images are noise, as in `drbench run`: regions are then scattered, which is the slow
case; --images smooth gives them ramps. --profile prints where the time goes, by torch.profiler, instead of timing.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from drbench_kernels import native
from drbench_kernels.bench import facts
from drbench_kernels.bench.document import BenchError, write
from drbench_kernels.bench.timing import Budget, Clock, CpuClock, CudaClock, Timed, interleave, once, ratio, timed
from torch import nn

from drbench.models import create_model

DTYPES = {"float32": None, "bfloat16": torch.bfloat16}
"""What autocast computes in."""
CLASSES = 1000


def networks(given: argparse.Namespace) -> dict[str, nn.Module]:
    """Plain and converted, equal in all layers that were not replaced."""
    plain = create_model(given.network, seed=0, num_classes=CLASSES)
    converted = create_model(
        given.network, operator="drconv", regions=given.regions, where=given.where, seed=0, num_classes=CLASSES
    )
    return {
        name: model.to(device=given.device, memory_format=torch.channels_last)
        for name, model in (("plain", plain), ("drconv", converted))
    }


def images(given: argparse.Namespace, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if given.images == "noise":
        made = torch.randn(count, 3, given.side, given.side, generator=generator)
    else:
        coarse = torch.randn(count, 3, 7, 7, generator=generator)
        made = F.interpolate(coarse, (given.side, given.side), mode="bilinear", align_corners=True)
    return made.to(device=given.device, memory_format=torch.channels_last)


def autocast(given: argparse.Namespace) -> Any:
    dtype = DTYPES[given.dtype]
    return nullcontext() if dtype is None else torch.autocast(given.device, dtype, cache_enabled=False)


def inference(given: argparse.Namespace, model: nn.Module) -> Callable[[], object]:
    x = images(given, given.batch)
    model.eval()

    def call() -> object:
        with torch.inference_mode(), autocast(given):
            return model(x)

    return call


def training(given: argparse.Namespace, model: nn.Module) -> Callable[[], object]:
    x = images(given, given.train_batch)
    labels = torch.randint(CLASSES, (given.train_batch,), generator=torch.Generator().manual_seed(0)).to(given.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    model.train()

    def call() -> object:
        optimizer.zero_grad(set_to_none=True)
        with autocast(given):
            loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return None

    return call


WORK = {"inference": inference, "training": training}


def measure(given: argparse.Namespace, what: str, clock: Clock) -> dict[str, Any]:
    """Samples of both networks, and the ratio."""
    budget = Budget(given.seconds, given.rounds, min(5, given.rounds), 0.002)
    calls: dict[str, Timed] = {}
    for name, model in networks(given).items():
        call = WORK[what](given, model)
        call()
        seconds = min(once(call, clock) for _ in range(3))
        calls[name] = timed(call, seconds, budget, given.graph)
    samples = interleave(calls, dict.fromkeys(calls, "plain"), clock, budget)
    found = ratio(samples["drconv"], samples["plain"])
    ms = {name: 1e3 * median(values) for name, values in samples.items()}
    size = given.batch if what == "inference" else given.train_batch
    print(
        f"{what}, {size} images: plain {ms['plain']:.2f} ms, drconv {ms['drconv']:.2f} ms, "
        f"ratio {found.median:.2f} [{found.p25:.2f} {found.p75:.2f}] of {found.rounds} pairs",
        flush=True,
    )
    return {"what": what, "batch": size, "graph": given.graph, "samples": samples, "ratio": asdict(found)}


def profile(given: argparse.Namespace, what: str) -> None:
    """Print the most expensive operators of both networks."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    key = "self_cpu_time_total"
    if given.device == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
        key = "self_device_time_total"
    for name, model in networks(given).items():
        call = WORK[what](given, model)
        for _ in range(5):
            call()
        with torch.profiler.profile(activities=activities, acc_events=True) as found:
            for _ in range(given.profile_calls):
                call()
        print(f"\n{what} of {name}, {given.profile_calls} calls")
        print(found.key_averages().table(sort_by=key, row_limit=given.rows, max_name_column_width=50))


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--network", default="shufflenet_v2_x0_5")
    add("--where", default="last-pointwise", help="recipe: which convolutions are replaced")
    add("--regions", type=int, default=8)
    add("--side", type=int, default=224, help="of the images, in pixels")
    add("--batch", type=int, default=1, help="images of an inference")
    add("--train-batch", type=int, default=32, help="images of a training step")
    add("--images", choices=("noise", "smooth"), default="noise")
    add("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    add("--dtype", choices=DTYPES, default="float32", help="bfloat16: under autocast")
    add("--threads", type=int, default=torch.get_num_threads())
    add("--work", choices=WORK, action="append", help="only this; may be repeated")
    add("--graph", action="store_true", help="on a GPU: CUDA graphs")
    add("--seconds", type=float, default=5.0, help="of samples for each network")
    add("--rounds", type=int, default=200, help="at most so many pairs")
    add("--json", type=Path, metavar="FILE")
    add("--profile", action="store_true", help="print where the time goes instead")
    add("--profile-calls", type=int, default=20)
    add("--rows", type=int, default=20, help="of a profile")
    given = parser.parse_args(argv)
    if given.graph and given.device != "cuda":
        parser.error("--graph is for a GPU")
    return given


def main(argv: Sequence[str] | None = None) -> int:
    given = options(argv)
    if given.device == "cpu":
        native.ensure()
    torch.set_num_threads(given.threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    wanted = given.work or list(WORK)
    if given.profile:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own words
        for what in wanted:
            profile(given, what)
        return 0
    clock: Clock = CudaClock(flush=False) if given.device == "cuda" else CpuClock()
    started = facts.now()
    results = [measure(given, what, clock) for what in wanted]
    if given.json is not None:
        settings = {key: value for key, value in vars(given).items() if key not in ("json", "profile", "work")}
        document = {
            "format": "drbench-network",
            "version": 1,
            "command": shlex.join(["python", "benchmarks/network.py", *(sys.argv[1:] if argv is None else argv)]),
            "started": started,
            "finished": facts.now(),
            "machine": facts.machine(torch.device(given.device)),
            "code": facts.code(),
            "native": native.kernels() if native.ready() else f"none: {native.why_not()}",
            "settings": settings,
            "results": results,
        }
        try:
            write(given.json, document)
        except BenchError as error:
            print(f"network.py: error: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
