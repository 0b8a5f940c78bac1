from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from drbench import experiment, models
from drbench.errors import InputError
from drbench.identity import experiment_key, variant_hash
from drbench.jobs import Job
from drbench.records import DataSettings, Event, Experiment, LatencySettings, Record, TrainSettings, Variant

SMALL = {"input_shape": (3, 32, 32), "num_classes": 10, "stem_stride": 1}
PLAIN = Variant("mobilenet_v1_0.25", **SMALL)
DRCONV = Variant("mobilenet_v1_0.25", operator="drconv", operator_args={"regions": 2}, **SMALL)
QUICK = LatencySettings(batch_sizes=(1, 2), warmup_runs=1, min_runs=3, min_seconds=0.0, threads=1)
DATA = DataSettings(args={"train": 100, "test": 20})
TRAIN = TrainSettings(epochs=1, batch_size=10, threads=1, device="cpu")


def done(one: Experiment, workdir: Path) -> list[Record]:
    records = list(experiment.run(one, workdir=workdir))
    assert [record.error for record in records if record.status != "done"] == []
    return records


def figures(record: Record) -> dict[tuple[str, str], float]:
    return {(m.name, m.part): m.value for m in record.measurements}


def test_cost_of_the_plain_network_is_half_of_torchs_flops(tmp_path: Path) -> None:
    (record,) = done(Experiment("cost", (PLAIN,)), tmp_path)
    model = models.build(PLAIN, seed=0).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.randn(1, 3, 32, 32))
    found = figures(record)
    assert found["madds", ""] == found["executed", ""] == counter.get_total_flops() / 2
    assert found["params", ""] == sum(p.numel() for p in model.parameters())
    assert sum(layer.madds or 0 for layer in record.layers) == found["madds", ""]
    assert (record.label, record.variant_hash) == ("conv", variant_hash(PLAIN))
    assert record.key == experiment_key(Experiment("cost", (PLAIN,)), PLAIN)


def test_cost_has_parts_and_the_published_network_beside(tmp_path: Path) -> None:
    (record,) = done(Experiment("cost", (DRCONV,)), tmp_path)
    found = figures(record)
    parts = {part for name, part in found if name == "madds" and part}
    assert {"region_conv", "guide", "routing", "mixing"} <= parts
    assert found["reference_madds", ""] > found["madds", ""]


def test_latency_is_paired_to_the_plain_network(tmp_path: Path) -> None:
    plain, converted = done(Experiment("latency", (PLAIN, DRCONV), latency=QUICK), tmp_path)
    assert [(m.name, m.context["batch_size"]) for m in plain.measurements] == [("latency", 1), ("latency", 2)]
    by_size = {m.context["batch_size"]: m for m in plain.measurements}
    ratios = [m for m in converted.measurements if m.name == "latency_ratio"]
    times = [m for m in converted.measurements if m.name == "latency"]
    assert len(ratios) == len(times) == 2
    for ratio, own in zip(ratios, times, strict=True):
        base = by_size[ratio.context["batch_size"]]
        assert ratio.samples == tuple(a / b for a, b in zip(own.samples, base.samples, strict=True))
        assert len(own.samples) >= 3
        assert own.value == median(own.samples)


def test_each_width_is_paired_to_its_own_plain_network(tmp_path: Path) -> None:
    wide, wide_converted = replace(PLAIN, width=0.5), replace(DRCONV, width=0.5)
    matched = replace(PLAIN, match="madds", matched_to=variant_hash(wide_converted), width=0.52)
    group = (PLAIN, DRCONV, wide, wide_converted, matched)
    settings = replace(QUICK, batch_sizes=(1,))
    records = done(Experiment("latency", group, latency=settings), tmp_path)
    samples = {record.variant_hash: {m.name: m.samples for m in record.measurements} for record in records}
    assert "latency_ratio" not in samples[variant_hash(PLAIN)]
    assert "latency_ratio" not in samples[variant_hash(wide)]
    for variant, base in ((DRCONV, PLAIN), (wide_converted, wide), (matched, wide)):
        own, plain = samples[variant_hash(variant)], samples[variant_hash(base)]["latency"]
        assert own["latency_ratio"] == tuple(a / b for a, b in zip(own["latency"], plain, strict=True))


def test_latency_goes_on_without_the_one_that_fails(tmp_path: Path) -> None:
    wrong = Variant("mobilenet_v1_0.25", operator="drconv", operator_args={"regoins": 2}, **SMALL)
    records = list(experiment.run(Experiment("latency", (PLAIN, wrong, DRCONV), latency=QUICK), workdir=tmp_path))
    assert {record.variant_hash: record.status for record in records} == {
        variant_hash(PLAIN): "done",
        variant_hash(wrong): "failed",
        variant_hash(DRCONV): "done",
    }
    (failed,) = (record for record in records if record.status == "failed")
    assert "regoins" in failed.error
    assert "\n" not in failed.error
    assert "Traceback" in Path(failed.files["traceback"]).read_text()


def test_training_records_what_it_found_and_leaves_the_network(tmp_path: Path) -> None:
    events: list[Event] = []
    one = Experiment("train", (DRCONV,), 3, DATA, TRAIN)
    (record,) = experiment.run(one, workdir=tmp_path, on_event=events.append)
    assert (record.status, record.seed, len(record.ranks), len(record.epochs)) == ("done", 3, 20, 1)
    assert record.settings["train"]["epochs"] == 1
    assert record.settings["synthetic"] is True
    assert [event.done for event in events if event.kind == "epoch"] == [1]
    (again,) = experiment.run(
        experiment.of_weights(Experiment("train", (PLAIN,), 0, DATA, TRAIN), record.files["weights"]), workdir=tmp_path
    )
    assert again.variant == DRCONV
    assert again.ranks == record.ranks
    assert again.seed == 3
    assert again.settings["trained"]["epochs"] == 1
    assert again.settings["trained"]["data_digest"] == record.settings["data_digest"]


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    models.save_model(path, models.build(PLAIN, seed=0), PLAIN)
    other = Variant("mobilenet_v1_0.50", **SMALL)
    with pytest.raises(InputError, match=r"holds 'mobilenet_v1_0\.25', not 'mobilenet_v1_0\.50'"):
        experiment.of_weights(Experiment("train", (other,), 0, DATA, TRAIN), str(path))


@pytest.mark.parametrize("by", ["madds", "params"])
def test_matched_network_costs_what_its_target_does(by: str, tmp_path: Path) -> None:
    wanted = Variant("mobilenet_v1_0.25", match=by, matched_to=variant_hash(DRCONV), **SMALL)
    found = experiment.resolve(wanted, DRCONV)
    assert found.width is not None
    (ours,) = done(Experiment("cost", (found,)), tmp_path)
    (target,) = done(Experiment("cost", (DRCONV,)), tmp_path)
    assert figures(ours)[by, ""] == pytest.approx(figures(target)[by, ""], rel=0.01)


def test_check_refuses_data_of_another_shape(tmp_path: Path) -> None:
    other = Variant("mobilenet_v1_0.25", input_shape=(3, 32, 32), num_classes=7)
    with pytest.raises(InputError, match=r"10 classes, the suite wants .* and 7"):
        experiment.check([Experiment("train", (other,), 0, DATA, TRAIN)])


def test_a_full_disk_is_no_fault_of_the_variant(tmp_path: Path) -> None:
    job = Job(Experiment("cost", (PLAIN,)), PLAIN, "conv")
    with pytest.raises(OSError, match="No space"):
        job.failed(OSError(errno.ENOSPC, "No space left on device"), tmp_path)
    assert job.failed(OSError(errno.ENOENT, "No such file"), tmp_path).status == "failed"
