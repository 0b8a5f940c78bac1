"""How long `drbench --help` takes, and `drbench report` over 1,000 variants and 100,000 measurements.

    python benchmarks/report_scale.py [--repeat 5] [--variants 1000] [--keep DIR]

Whole processes are timed, imports and all, the database in the page cache; the best and the median of the repeats are
printed (the best says what the program needs, the median what this machine gave it), each with its target. The
database is made through the Store, with latency samples; its figures are made up. Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from drbench_db import Store

from drbench.identity import variant_hash
from drbench.records import Code, Machine, Measurement, Record, Run, Variant

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
        run = Run("scale", "scale", "", "benchmarks/report_scale.py", "2026-01-01T00:00:00Z", MACHINE, Code("0"))
        store.begin_run(run)
        store.add_many(run.id, (r for variant, label in variants(count) for r in records(variant, label, rng)))
        store.end_run(run.id, "done")


def seconds(command: list[str], repeat: int) -> list[float]:
    """Wall-clock times of whole processes, after one that is not counted."""
    times = []
    for number in range(repeat + 1):
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        if number:
            times.append(time.perf_counter() - begun)
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--variants", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="directory in which to leave the database")
    given = parser.parse_args()
    program = [sys.executable, "-c", "import sys; from drbench.cli import main; sys.exit(main())"]
    missed = False
    with tempfile.TemporaryDirectory() as temporary:
        path = (given.keep or Path(temporary)) / "scale.db"
        path.unlink(missing_ok=True)
        make(path, given.variants)
        what = f"{given.variants:,} variants, {given.variants * MEASUREMENTS:,} measurements"
        for name, arguments, target in (
            ("drbench --help", ["--help"], 0.4),
            (f"drbench report ({what})", ["report", "--db", str(path)], 2.0),
            (f"drbench report --format csv ({what})", ["report", "--db", str(path), "--format", "csv"], 2.0),
        ):
            times = seconds(program + arguments, given.repeat)
            best, median = min(times), statistics.median(times)
            missed |= best >= target
            print(f"{name}: best {best:.2f} s, median {median:.2f} s of {len(times)}; target under {target} s")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
