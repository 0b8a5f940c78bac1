"""Names that users' databases and baselines hold: hashes, work keys, labels, digests of data, as literal values.

What is pinned here was written by drbench 0.1.0 at commit ac95b46. A test that fails after a change says that results
recorded before are lost to resume, check and report: mend the change, not the value.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from drbench_db.rows import code_row, machine_row

from drbench import identity
from drbench.records import Code, DataSettings, Experiment, LatencySettings, Machine, TrainSettings, Variant
from drbench.run.opbench.convert import key, variant
from drbench.sources import source_hashes
from drbench.suite.plan import plan
from drbench.suite.read import parse, read_suite, read_text, validate
from drbench.suite.tables import Suite
from drbench.training.presets import PRESETS, preset

PLAIN = Variant("shufflenet_v2_x0_5")
DRCONV = replace(PLAIN, operator="drconv", operator_args={"regions": 8, "experts": 4})
OWN = Variant(
    "own:tiny",
    operator="own:Doubled",
    where=("3",),
    input_shape=(3, 16, 16),
    num_classes=10,
    sources={"own:Doubled": "a" * 64, "own:tiny": "b" * 64},
)

VARIANTS: dict[str, Variant] = {
    "plain": PLAIN,
    "all defaults, another network": Variant("mobilenet_v2_1.00"),
    "drconv": DRCONV,
    "condconv": replace(PLAIN, operator="condconv", operator_args={"experts": 4}),
    "architecture": replace(DRCONV, architecture="mobilenet_v1_0.25"),
    "operator": replace(DRCONV, operator="fixed-grid"),
    "operator_args": replace(DRCONV, operator_args={"regions": 2, "experts": 8, "guide": {"kernel": 3}, "bias": None}),
    "where": replace(DRCONV, where=("pointwise",)),
    "where, patterns": replace(DRCONV, where=("features.*.conv", "head")),
    "where_args": replace(DRCONV, where_args={"guide": "block", "unsuitable": "skip"}),
    "init": replace(DRCONV, init="preserve"),
    "input_shape": replace(DRCONV, input_shape=(1, 28, 32)),
    "num_classes": replace(DRCONV, num_classes=10),
    "stem_stride": replace(DRCONV, stem_stride=1),
    "architecture_args": replace(DRCONV, architecture_args={"dropout": 0.1, "name": "é", "flag": True}),
    "match": replace(PLAIN, match="madds"),
    "matched_to": replace(PLAIN, match="madds", matched_to="d8ec7d3d14dc04d2"),
    "width": replace(PLAIN, match="params", matched_to="d8ec7d3d14dc04d2", width=1.0625),
    "width alone": replace(PLAIN, width=0.5),
    "sources": OWN,
    "a layer of the operator benchmark": Variant(
        "1x1-4-6@5",
        operator="region_conv2d",
        operator_args={"regions": 4},
        where=(),
        input_shape=(4, 5, 5),
        num_classes=0,
        architecture_args={"outputs": 6, "kernel": 1, "stride": 1},
    ),
}
HASHES = {
    "plain": "db92b4e62de40208",
    "all defaults, another network": "9837aa84cb12a8f8",
    "drconv": "44a33010714bb5c1",
    "condconv": "2a2ab9f345434868",
    "architecture": "731c77bb1bbb54df",
    "operator": "57880febfe0eca65",
    "operator_args": "13294d06b8be43cd",
    "where": "297d3ea7d2fe15ab",
    "where, patterns": "093fb739d14d814f",
    "where_args": "ce814c5efa3dda17",
    "init": "0344cb9b33811bbf",
    "input_shape": "0835c27e3836f53c",
    "num_classes": "78da02e662fe3c92",
    "stem_stride": "81aa6fa58d24d17a",
    "architecture_args": "63af5b41c48d1c0d",
    "match": "400f46975c7b514c",
    "matched_to": "32690e4f9e22c227",
    "width": "0a37bdc5d6ef1c2a",
    "width alone": "16653c821209561f",
    "sources": "d390eace61b6ec77",
    "a layer of the operator benchmark": "8b8608fd28aab362",
}

DATA = DataSettings("shapes", None, False, 0.1, {})
TRAIN = TrainSettings(
    preset="quick",
    epochs=4,
    batch_size=128,
    optimizer="sgd",
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=5e-4,
    nesterov=True,
    schedule="cosine",
    warmup_epochs=1.0,
    label_smoothing=0.0,
    ema_decay=None,
    grad_clip=None,
    augment="standard",
    device="auto",
    precision="fp32",
    threads=None,
    loader_workers=0,
)
LATENCY = LatencySettings((1,), 5, 5, 12, 0.2, 20.0, None, "float32", "auto", True)
"""The defaults of that commit, in full: another default is another recipe, with a key of its own."""
OTHER: dict[str, dict[str, Any]] = {
    "data": {
        "name": "cifar10",
        "root": "/somewhere",
        "download": True,
        "val_fraction": 0.25,
        "args": {"train": 512, "test": 256, "preprocessing": {"mean": [0.5, 0.25, 0.1]}},
    },
    "train": {
        "preset": "standard",
        "epochs": 7,
        "batch_size": 64,
        "optimizer": "adamw",
        "learning_rate": 0.003,
        "momentum": 0.5,
        "weight_decay": 1e-4,
        "nesterov": False,
        "schedule": "linear",
        "warmup_epochs": 0.5,
        "label_smoothing": 0.1,
        "ema_decay": 0.99,
        "grad_clip": 1.0,
        "augment": "none",
        "device": "cuda",
        "precision": "bf16",
        "threads": 2,
        "loader_workers": 4,
    },
    "latency": {
        "batch_sizes": (1, 8, 32),
        "workers": 3,
        "warmup_runs": 1,
        "min_runs": 5,
        "min_seconds": 0.5,
        "max_seconds": 5.0,
        "threads": 2,
        "dtype": "bfloat16",
        "device": "cpu",
        "channels_last": False,
    },
}
DEFAULTS = {"data": DATA, "train": TRAIN, "latency": LATENCY}


def _experiments() -> Iterator[tuple[str, Experiment, Variant]]:
    yield "cost", Experiment("cost", (DRCONV,)), DRCONV
    yield "memory", Experiment("memory", (DRCONV,), latency=LATENCY, train=TRAIN), DRCONV
    yield "latency of plain", Experiment("latency", (PLAIN, DRCONV), latency=LATENCY), PLAIN
    yield "latency of drconv", Experiment("latency", (PLAIN, DRCONV), latency=LATENCY, labels=("a", "b")), DRCONV
    yield "noise", Experiment("noise", (PLAIN,), latency=LATENCY), PLAIN
    yield "train", Experiment("train", (DRCONV,), 0, DATA, TRAIN), DRCONV
    yield "train, seed 3", Experiment("train", (DRCONV,), 3, DATA, TRAIN), DRCONV
    yield "train, own network", Experiment("train", (OWN,), 0, DATA, TRAIN), OWN
    weights = Experiment("train", (DRCONV,), None, DATA, TRAIN, eval_weights="weights.safetensors")
    yield "given weights", weights, DRCONV
    for name in PRESETS:
        yield f"preset {name}", Experiment("train", (PLAIN,), 0, DATA, preset(name)), PLAIN
    for table, values in OTHER.items():
        stage = "latency" if table == "latency" else "train"
        whole = {"data": DATA, "train": TRAIN} if stage == "train" else {"latency": LATENCY}
        for field, value in values.items():
            changed: Any = replace(DEFAULTS[table], **{field: value})  # type: ignore[type-var]
            yield f"{table}.{field}", Experiment(stage, (PLAIN,), 0, **{**whole, table: changed}), PLAIN


EXPERIMENTS = {name: (experiment, variant) for name, experiment, variant in _experiments()}
KEYS = {
    "cost": "b41bbd3dc65e05f3",
    "memory": "1ecd3a826c5fd35e",
    "latency of plain": "6f6d66694b0c84fa",
    "latency of drconv": "f0076fed6ee3fa33",
    "noise": "31c9edc477bfe1cf",
    "train": "e56861655216613b",
    "train, seed 3": "ec7d3ceffdc5c622",
    "train, own network": "8b0b6a1dc9fb0498",
    "given weights": "683279e5a337f46c",
    "preset quick": "3d11c37fa9beabbd",
    "preset standard": "03da0f86c17b900a",
    "preset paper": "84db6bb211b9525b",
    "data.name": "602ddad9db91bdd6",
    "data.root": "87fdf380b8a79d8d",
    "data.download": "87fdf380b8a79d8d",
    "data.val_fraction": "161d7cd500a08dee",
    "data.args": "cf4312658e9ef933",
    "train.preset": "66147c442880b7c5",
    "train.epochs": "00b200c26d204c63",
    "train.batch_size": "e451d86c9b057c2c",
    "train.optimizer": "b2b0c6d3a1f57223",
    "train.learning_rate": "39bf9dab5534f865",
    "train.momentum": "a7ce0767f852fdf7",
    "train.weight_decay": "fefdcba976d3c9a2",
    "train.nesterov": "df8b04d0ea73b9e3",
    "train.schedule": "3588930a50e5f385",
    "train.warmup_epochs": "65a72193866c79fd",
    "train.label_smoothing": "3885e51d07246466",
    "train.ema_decay": "7fb5f1c3ef055e55",
    "train.grad_clip": "365aed6400f2fc66",
    "train.augment": "15a800f8feff244f",
    "train.device": "73b20f2850fbbffd",
    "train.precision": "e87ece5809a1cfff",
    "train.threads": "95b52b5984e82162",
    "train.loader_workers": "71a795f597bd951c",
    "latency.batch_sizes": "24754efd0027e213",
    "latency.workers": "efb723019c289c56",
    "latency.warmup_runs": "90e26cc7bcab6df1",
    "latency.min_runs": "5f1fc1b97d7150aa",
    "latency.min_seconds": "a8928c0f4b67c8e3",
    "latency.max_seconds": "dd04d8a97d0c01dd",
    "latency.threads": "365dc0b711357164",
    "latency.dtype": "d48f4deb8b9e1d2e",
    "latency.device": "a1aa6ae41b059147",
    "latency.channels_last": "8de96a0adffa2b8b",
}

LABELS = (
    "conv",
    "conv",
    "drconv m=8 init=fresh where=last-pointwise",
    "condconv",
    "drconv m=8",
    "fixed-grid m=8",
    "drconv m=2",
    "drconv m=8 init=fresh where=pointwise",
    "drconv m=8 init=fresh where=features.*.conv,head",
    "drconv m=8 init=fresh where=last-pointwise where.guide=block where.unsuitable=skip",
    "drconv m=8 init=preserve where=last-pointwise",
    "drconv m=8 init=fresh where=last-pointwise",
    "drconv m=8 init=fresh where=last-pointwise",
    "drconv m=8 init=fresh where=last-pointwise",
    "drconv m=8 init=fresh model.dropout=0.1 model.flag=true model.name=é where=last-pointwise",
    "conv =madds(None)",
    "conv =madds(d8ec7d3d14dc04d2)",
    "conv =params(d8ec7d3d14dc04d2)",
    "conv width=0.5",
    "own:Doubled",
    "region_conv2d m=4",
)
"""Of VARIANTS, in their order, as of one suite."""

MACHINE = Machine("box", "Linux", "a CPU", 2, 4, 8 << 30)
ROWS: dict[str, Any] = {
    "machine": MACHINE,
    "machine with a GPU": replace(
        MACHINE,
        gpu="a GPU",
        gpu_memory_bytes=80 << 30,
        driver="13.0",
        python="3.11.7",
        torch="2.14",
        cpu_capability="A",
    ),
    "code": Code("0.1.0"),
    "code of a repository": Code("0.1.0", "https://example.org/study.git", "c0ffee", True),
}
ROW_HASHES = {
    "machine": "8571e2c5c5c0d6118e8cdab13d7ccf5f35fa82529388103a5cfbf28fedabe362",
    "machine with a GPU": "ef4d03e988d29e804d48ff05af659b4d22ab2b2d96a7ac3f85876154321d6f2d",
    "code": "f78906809e36362b161922d52da72841b51ef38f8fe4e2deba1f43e370e19bec",
    "code of a repository": "081767ff0bae43f38dbc94529059bd234978012e0f76fd457cb40cbc319cd35f",
}

BENCHMARK = {
    "regions": 4,
    "experts": 8,
    "batch_sizes": [1, 3],
    "threads": 1,
    "graph": False,
    "shapes": ["x"],
    "ways": [],
}
SHAPE = {"name": "1x1-4-6@5", "channels": 4, "height": 5, "width": 5, "outputs": 6, "kernel": 1, "stride": 1}
OPS_KEYS = {"conv": "1cf43b1f878bb7a2", "region_conv2d": "ec462af16b37c74d", "DRConv2d": "2e668cf97cce38f5"}


SUITES = {
    "controls": "6bbb36509413d6c9",
    "mobilenet": "90152ddf01799155",
    "paper": "a6a2971e3a4d01ee",
    "shufflenet": "6fc9341488eba27f",
    "smoke": "b755548d298abf16",
}
"""Of the shipped suites: the digest of `work_of`. Whoever changes what a suite holds changes its line."""
WITH_OPTIONS = "9479e996a1f6db88"


def test_the_tables_hold_every_field_there_was() -> None:
    def names(kind: Any) -> list[str]:
        return [field.name for field in fields(kind)]

    assert set(VARIANTS) >= set(names(Variant)[:14])
    for table, kind in (("data", DataSettings), ("train", TrainSettings), ("latency", LatencySettings)):
        assert list(OTHER[table]) == names(kind)[: len(OTHER[table])]


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_hashes(name: str) -> None:
    assert identity.variant_hash(VARIANTS[name]) == HASHES[name]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_work_keys(name: str) -> None:
    experiment, of = EXPERIMENTS[name]
    assert identity.experiment_key(experiment, of) == KEYS[name]


@pytest.mark.parametrize("name", SUITES)
def test_work_of_the_shipped_suites(name: str) -> None:
    """Results of a suite are found again only if all of its work has the keys and labels that it had."""
    assert work_of(read_suite(name)) == SUITES[name]


def test_work_of_a_suite_with_options() -> None:
    given = {"match": ["madds", "params"], "regions": [2, 8], "seeds": 2, "batch_sizes": [1, 8]}
    assert work_of(read_suite("mobilenet", given)) == WITH_OPTIONS


def test_a_suite_that_was_recorded_before_batch_norm_was_recalibrated_has_the_keys_that_it_had() -> None:
    document = parse(read_text("mobilenet"), "mobilenet")
    without = {key: value for key, value in document.items() if key != "train"}
    for older in (without, {**without, "train": {"recalibrate_batch_norm": False}}):
        assert work_of(validate(older, "mobilenet")) == "c07a1bb1c602bc09"


def test_a_suite_may_name_the_task_that_it_has_had() -> None:
    document = {"name": "one", "architectures": ["shufflenet_v2_x0_5"]}
    assert work_of(validate({**document, "task": "classify"}, "x")) == work_of(validate(document, "x"))


def work_of(suite: Suite) -> str:
    """One digest over all work, in order: stage, labels, keys."""
    return identity.digest(
        [[one.stage, one.labels, [identity.experiment_key(one, v) for v in one.variants]] for one in plan(suite)]
    )


def test_keys_of_the_operator_benchmark() -> None:
    assert {way: key(variant(SHAPE, way, BENCHMARK), BENCHMARK) for way in OPS_KEYS} == OPS_KEYS


def test_labels() -> None:
    assert identity.labels(list(VARIANTS.values())) == LABELS
    matched = replace(PLAIN, match="madds", matched_to=HASHES["drconv"], width=1.1)
    assert identity.labels([PLAIN, DRCONV, matched]) == ("conv", "drconv m=8", "conv =madds(drconv m=8)")
    assert identity.labels([PLAIN, DRCONV, matched], ["plain", "mine", None]) == ("plain", "mine", "conv =madds(mine)")


@pytest.mark.parametrize("name", ROWS)
def test_hashes_of_machines_and_code(name: str) -> None:
    make = machine_row if isinstance(ROWS[name], Machine) else code_row
    assert make(ROWS[name])["hash"] == ROW_HASHES[name]


def test_the_hash_of_sources_is_the_sha256_of_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pinned_own.py").write_text("def net():\n    return None\n")
    (tmp_path / "pinned_facade.py").write_text("from pinned_own import net\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert source_hashes(["drconv", "pinned_own:net", "pinned_facade:net"]) == {
        "pinned_own:net": "164c0fe02f72366ac1779f84bf8fc982d30d2cc5a3df8f7eef48cbc0a914e0c3",
        "pinned_facade:net": "0fbc860ae640ef4a7750f84c7c98da1faa0e9114e2410decd6e5eb5b19661ca1",
    }
    for name in ("pinned_own", "pinned_facade"):
        sys.modules.pop(name, None)
