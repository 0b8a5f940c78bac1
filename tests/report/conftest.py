"""A database with what a real run leaves: plain, converted and matched rows, several seeds, a failure."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from drbench_db import Store

from drbench.identity import variant_hash
from drbench.records import Code, Epoch, LayerCost, Machine, Measurement, Record, Run, Variant

MACHINE = Machine("box", "Linux", "a CPU", 2, 4, 8 << 30, torch="2.11")
RUN = Run("20260101-1200-demo-ab12", "demo", "", "drbench run", "2026-01-01T12:00:00Z", MACHINE, Code("0.1"))
ARCHITECTURE = "shufflenet_v2_x0_5"
PLAIN = Variant(ARCHITECTURE, input_shape=(3, 32, 32), num_classes=10)
DRCONV = replace(PLAIN, operator="drconv", operator_args={"regions": 8})
MATCHED = replace(PLAIN, match="madds", matched_to=variant_hash(DRCONV), width=0.61)
LABELS = {
    variant_hash(PLAIN): "conv",
    variant_hash(DRCONV): "drconv m=8",
    variant_hash(MATCHED): "conv =madds(drconv m=8)",
}
TOP1 = {
    "conv": (0.60, 0.61, 0.62, 0.60, 0.61, 0.62),
    "drconv m=8": (0.63, 0.63, 0.66, 0.62, 0.64, 0.65),
    "conv =madds(drconv m=8)": (0.62, 0.62, 0.64, 0.61, 0.63, 0.64),
}
MADDS = {"conv": 40_000_000, "drconv m=8": 45_000_000, "conv =madds(drconv m=8)": 44_900_000}
PARAMS = {"conv": 1_000_000, "drconv m=8": 2_000_000, "conv =madds(drconv m=8)": 1_100_000}
SECONDS = {"conv": 0.002, "drconv m=8": 0.003, "conv =madds(drconv m=8)": 0.0021}
EVERY = (PLAIN, DRCONV, MATCHED)


def record(variant: Variant, stage: str, measurements: Sequence[Measurement] = (), **more: object) -> Record:
    """A done record; `more` are fields of Record."""
    name = variant_hash(variant)
    fields = {
        "key": f"{name}-{stage}-{more.get('seed')}-{more.get('settings')}",
        "variant": variant,
        "variant_hash": name,
        "label": LABELS.get(name, variant.operator),
        "stage": stage,
        "status": "done",
        "started": "2026-01-01T12:00:00Z",
        "finished": "2026-01-01T12:00:01Z",
        "measurements": tuple(measurements),
        **more,
    }
    return Record(**fields)  # type: ignore[arg-type]


def settings(data: str = "cifar10", *, found: bool = True, **train: object) -> Mapping[str, object]:
    """What a record of training says of its conditions; `found`: the data was opened."""
    asked = {"data": {"name": data, "val_fraction": 0.1}, "train": {"preset": "quick", "epochs": 4, **train}}
    return {**asked, "data_digest": "d", "synthetic": data == "shapes"} if found else asked


def cost(variant: Variant) -> Record:
    label = LABELS[variant_hash(variant)]
    figures = [
        Measurement("madds", MADDS[label], "multiply-adds", "lower"),
        Measurement("madds", 1234, "multiply-adds", "lower", "guide"),
        Measurement("executed", MADDS[label] * 2, "multiply-adds", "lower"),
        Measurement("params", PARAMS[label], "parameters", "lower"),
    ]
    if variant.match is None:
        figures.append(Measurement("reference_madds", MADDS[label], "multiply-adds", "lower"))
    return record(variant, "cost", figures, layers=(LayerCost("conv1", "Conv2d", (8, 4, 4), 5, 6, 7, {"guide": 2}),))


def latency(variant: Variant, batches: Sequence[int] = (1, 8)) -> Record:
    label = LABELS[variant_hash(variant)]
    figures = []
    for batch in batches:
        about = {"batch_size": batch, "threads": 2, "dtype": "float32", "device": "cpu", "channels_last": True}
        samples = tuple(SECONDS[label] * batch * (1 + i / 100) for i in range(21))
        figures.append(Measurement("latency", statistics.median(samples), "s", "lower", "", samples, about))
        if label != "conv":
            ratios = tuple(SECONDS[label] / SECONDS["conv"] + i / 100 for i in range(-10, 11))
            about |= {"interval": [ratios[10] - 0.02, ratios[10] + 0.02], "level": 0.95}
            figures.append(Measurement("latency_ratio", ratios[10], "ratio", "lower", "", ratios, about))
        floor = {**about, "interval": [0.99, 1.02]}
        figures.append(Measurement("latency_floor", 1.005, "ratio", "none", "", (1.0, 1.01), floor))
    return record(variant, "latency", figures)


def memory(variant: Variant) -> Record:
    about = {"batch_size": 8, "threads": 2, "dtype": "float32", "device": "cpu", "phase": "inference"}
    held = PARAMS[LABELS[variant_hash(variant)]] * 4 + (1 << 20)
    return record(variant, "memory", [Measurement("peak_memory", held, "bytes", "lower", "host", (), about)])


def training(variant: Variant, seed: int, data: str = "cifar10", **more: object) -> Record:
    top1 = TOP1[LABELS[variant_hash(variant)]][seed]
    figures = [
        Measurement("top1", top1, "fraction", "higher"),
        Measurement("top5", top1 + 0.3, "fraction", "higher"),
        Measurement("train_images_per_second", 1000.0, "images/s", "higher"),
    ]
    epochs = (Epoch(1, 2.25, 2.0, 0.5, 0.1, 1000.0, 3.0),)
    fields = {"settings": settings(data), "epochs": epochs, **more}
    return record(variant, "train", figures, seed=seed, **fields)


@pytest.fixture
def demo() -> ModuleType:
    """This module."""
    return sys.modules[__name__]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "drbench.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path, write=True) as opened:
        opened.begin_run(RUN)
        yield opened


@pytest.fixture
def filled(store: Store) -> Callable[..., Store]:
    """Fills the store: all three variants, all stages, so many seeds."""

    def fill(seeds: int = 6, data: str = "cifar10") -> Store:
        for variant in EVERY:
            store.add_many(RUN.id, [cost(variant), latency(variant)])
            store.add_many(RUN.id, [training(variant, seed, data) for seed in range(seeds)])
        store.end_run(RUN.id, "done", "2026-01-01T13:00:00Z")
        return store

    return fill
