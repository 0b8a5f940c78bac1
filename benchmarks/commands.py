"""How long commands take that load no torch, `drbench report` over 1,000 variants among them.

    python benchmarks/commands.py [--repeat 20] [--variants 1000] [--keep DIR]

Whole processes are timed, imports and all, with the files in the page cache, after one run that is not counted. A row
gives the wall-clock seconds of the repeats (median, quartiles, best) and the median of the processor seconds. The goal
is for the median on an idle core; exit code 1 when one is missed. The database is made through the Store, with latency
samples; its figures are made up.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drbench_db import Store

from drbench.identity import variant_hash
from drbench.records import Code, Machine, Measurement, Record, Run, Variant
from drbench.statistics.samples import quantile

MACHINE = Machine("bench", "Linux", "made up", 2, 2, 8 << 30)
PARTS = ("region_conv", "guide", "routing", "mixing", "conv", "linear")
BATCHES = (1, 8, 32)
SEEDS = 5
MEASUREMENTS = 100
"""For each variant."""


def variants(count: int) -> Iterator[tuple[Variant, str]]:
    """Architectures with a plain row and nine others each."""
    for number in range(count):
        architecture, kind = f"network_{number // 10:03d}", number % 10
        if kind == 0:
            yield Variant(architecture), "conv"
        else:
            yield Variant(architecture, "drconv", {"regions": kind}), f"drconv m={kind}"


def records(variant: Variant, label: str, rng: random.Random) -> Iterator[Record]:
    """One cost, one latency and five training records: MEASUREMENTS figures in all."""

    def record(stage: str, measurements: list[Measurement], seed: int | None = None) -> Record:
        data = {"name": "made-up", "val_fraction": 0.1}
        settings = {"data": data, "train": {"preset": "quick", "epochs": 4}} if stage == "train" else {}
        name = variant_hash(variant)
        return Record(
            key=f"{name}-{stage}-{seed}",
            variant=variant,
            variant_hash=name,
            label=label,
            stage=stage,
            status="done",
            started="2026-01-01T00:00:00Z",
            finished="2026-01-01T00:00:01Z",
            seed=seed,
            settings=settings,
            measurements=tuple(measurements),
        )

    cost = [Measurement(name, rng.randrange(10**6, 10**8), "") for name in ("madds", "executed", "params")]
    cost += [Measurement("madds", rng.randrange(10**6), "", "lower", part) for part in PARTS]
    latency = []
    for batch in BATCHES:
        samples = tuple(rng.uniform(0.001, 0.002) for _ in range(30))
        about = {"batch_size": batch, "threads": 2, "dtype": "float32", "device": "cpu"}
        for name in ("latency", "latency_ratio"):
            latency.append(Measurement(name, statistics.median(samples), "s", "lower", "", samples, about))
    names = ("top1", "top5", "val_top1", "train_images_per_second", "train_seconds")
    rest = MEASUREMENTS - len(cost) - len(latency)
    yield record("cost", cost)
    yield record("latency", latency)
    for seed in range(SEEDS):
        count = rest // SEEDS + (seed < rest % SEEDS)
        more = [f"extra_{i}" for i in range(count - len(names))]
        yield record("train", [Measurement(name, rng.random(), "fraction") for name in (*names, *more)], seed)


def make(path: Path, count: int) -> None:
    """The database: `count` variants in one run."""
    rng = random.Random(0)
    with Store.open(path, write=True) as store:
        run = Run("scale", "scale", "", "benchmarks/commands.py", "2026-01-01T00:00:00Z", MACHINE, Code("0"))
        store.begin_run(run)
        store.add_many(run.id, (r for variant, label in variants(count) for r in records(variant, label, rng)))
        store.end_run(run.id, "done")


@dataclass(frozen=True)
class Times:
    """Wall-clock seconds of whole processes, and processor seconds (user and system) of each."""

    wall: tuple[float, ...]
    processor: tuple[float, ...]


def times(command: list[str], repeat: int) -> Times:
    """Run the command `repeat` times, after one that is not counted."""
    wall, processor = [], []
    for _ in range(repeat + 1):
        before, begun = os.times(), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall.append(time.perf_counter() - begun)
        now = os.times()
        processor.append(now.children_user + now.children_system - before.children_user - before.children_system)
    return Times(tuple(wall[1:]), tuple(processor[1:]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--variants", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="directory in which to leave the database")
    given = parser.parse_args()
    program = [sys.executable, "-m", "drbench"]
    missed = False
    with tempfile.TemporaryDirectory() as temporary:
        path = (given.keep or Path(temporary)) / "scale.db"
        path.unlink(missing_ok=True)
        make(path, given.variants)
        print(f"{given.variants:,} variants, {given.variants * MEASUREMENTS:,} measurements; {given.repeat} runs each")
        print(f"{'seconds':32} {'goal':>5} {'median':>7} {'p25':>6} {'p75':>6} {'best':>6} {'processor':>10}")
        for arguments, goal in (
            (["--version"], 0.25),
            (["--help"], 0.25),
            (["suites", "list"], 1.0),
            (["models", "list"], 1.0),
            (["runs", "list", "--db", str(path)], 1.0),
            (["report", "--db", str(path)], 2.0),
            (["report", "--format", "csv", "--db", str(path)], 2.0),
        ):
            found = times(program + arguments, given.repeat)
            p25, median, p75 = (quantile(found.wall, fraction) for fraction in (0.25, 0.5, 0.75))
            missed |= median >= goal
            name = f"drbench {' '.join(word for word in arguments if word not in ('--db', str(path)))}"
            used = statistics.median(found.processor)
            print(f"{name:32} {goal:5.2f} {median:7.2f} {p25:6.2f} {p75:6.2f} {min(found.wall):6.2f} {used:10.2f}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
