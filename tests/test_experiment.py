from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from drbench import experiment, models
from drbench.data import open_data
from drbench.errors import InputError
from drbench.identity import experiment_key, variant_hash
from drbench.records import DataSettings, Event, Experiment, LatencySettings, Record, TrainSettings, Variant
from drbench.workers import Workers
from tests.executors import record_of

SMALL = {"input_shape": (3, 32, 32), "num_classes": 10, "stem_stride": 1}
PLAIN = Variant("mobilenet_v1_0.25", **SMALL)
DRCONV = Variant("mobilenet_v1_0.25", operator="drconv", operator_args={"regions": 2}, **SMALL)
DATA = DataSettings(args={"train": 100, "test": 20})
TRAIN = TrainSettings(epochs=1, batch_size=10, threads=1, device="cpu")


def figures(record: Record) -> dict[tuple[str, str], float]:
    return {(m.name, m.part): m.value for m in record.measurements}


def test_cost_of_the_plain_network_is_half_of_torchs_flops(tmp_path: Path) -> None:
    record = record_of(Experiment("cost", (PLAIN,)), tmp_path)
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
    record = record_of(Experiment("cost", (DRCONV,)), tmp_path)
    found = figures(record)
    parts = {part for name, part in found if name == "madds" and part}
    assert {"region_conv", "guide", "routing", "mixing"} <= parts
    assert found["reference_madds", ""] > found["madds", ""]


def test_training_records_what_it_found_and_leaves_the_network(tmp_path: Path) -> None:
    events: list[Event] = []
    one = Experiment("train", (DRCONV,), 3, DATA, TRAIN)
    record = record_of(one, tmp_path, say=events.append)
    assert (record.status, record.seed, record.outcomes.count, len(record.epochs)) == ("done", 3, 20, 1)
    assert record.settings["train"]["epochs"] == 1
    assert record.settings["synthetic"] is True
    assert [event.done for event in events if event.kind == "epoch"] == [1]
    again = record_of(
        experiment.of_weights(Experiment("train", (PLAIN,), 0, DATA, TRAIN), record.files["weights"]), tmp_path
    )
    for key in ("data_digest", "test_digest", "preprocessing"):
        assert again.settings[key] == record.settings[key]
    assert again.variant == DRCONV
    assert again.outcomes == record.outcomes
    assert again.seed == 3
    assert again.settings["trained"]["epochs"] == 1
    assert again.settings["trained"]["data_digest"] == record.settings["data_digest"]


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    models.save_model(path, models.build(PLAIN, seed=0), PLAIN)
    other = Variant("mobilenet_v1_0.50", **SMALL)
    with pytest.raises(InputError, match=r"got architecture 'mobilenet_v1_0\.25'; expected 'mobilenet_v1_0\.50'"):
        experiment.of_weights(Experiment("train", (other,), 0, DATA, TRAIN), str(path))


@pytest.mark.parametrize("by", ["madds", "params"])
def test_matched_network_costs_what_its_target_does(by: str, tmp_path: Path) -> None:
    wanted = Variant("mobilenet_v1_0.25", match=by, matched_to=variant_hash(DRCONV), **SMALL)
    found = experiment.resolve(wanted, DRCONV)
    assert found.width is not None
    ours = record_of(Experiment("cost", (found,)), tmp_path)
    target = record_of(Experiment("cost", (DRCONV,)), tmp_path)
    assert figures(ours)[by, ""] == pytest.approx(figures(target)[by, ""], rel=0.01)


def test_check_refuses_data_of_another_shape(tmp_path: Path) -> None:
    other = Variant("mobilenet_v1_0.25", input_shape=(3, 32, 32), num_classes=7)
    with pytest.raises(InputError, match=r"num_classes: got 7; expected 10 for the 10 classes .*Leave num_classes"):
        experiment.check([Experiment("train", (other,), 0, DATA, TRAIN)])


def test_memory_of_inference_holds_the_weights_and_grows_with_the_batch(tmp_path: Path) -> None:
    wide = replace(PLAIN, width=1.0)
    found = {}
    for batch in (1, 64):
        settings = LatencySettings(batch_sizes=(batch,), threads=1, device="cpu")
        with Workers() as workers:  # it changes how its process allocates
            record = record_of(Experiment("memory", (wide,), latency=settings), tmp_path, executor=workers)
        (measured,) = record.measurements
        assert (measured.name, measured.part, measured.unit) == ("peak_memory", "host", "bytes")
        assert (measured.context["batch_size"], measured.context["phase"]) == (batch, "inference")
        found[batch] = measured.value
    weights = 4 * sum(p.numel() for p in models.build(wide, seed=0).parameters())
    widest = 64 * 4 * 64 * 32 * 32  # images of the batch, bytes, and the largest activation: 64 channels of 32 x 32
    assert weights < found[1] < 6 * weights
    assert found[64] > found[1] + widest


def test_memory_of_training_is_recorded_beside_its_accuracy(tmp_path: Path) -> None:
    record = record_of(Experiment("train", (PLAIN,), 0, DATA, TRAIN), tmp_path)
    (held,) = (m for m in record.measurements if m.name == "peak_memory")
    assert (held.part, held.context["phase"], held.context["batch_size"]) == ("host", "train", 10)
    assert held.value > 3 * 4 * sum(p.numel() for p in models.build(PLAIN, seed=0).parameters())


def test_weights_whose_classes_have_other_names_are_told(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    names = [*open_data(DATA).classes]
    names[2:4] = names[3], names[2]
    preprocessing = open_data(DATA).preprocessing
    models.save_model(weights, models.build(PLAIN, seed=0), PLAIN, classes=names, preprocessing=preprocessing)
    one = experiment.of_weights(Experiment("train", (PLAIN,), 0, DATA, TRAIN), str(weights))
    said: list[Event] = []
    experiment.check([one], say=said.append)
    summary, note = (event.text for event in said)
    assert summary.startswith("data shapes: 10 classes, 89 train, 11 validation, 20 test images; values ")
    assert note.startswith("class 2 is 'ring-below' in the weights and 'ring-above' in data set 'shapes' (2 of 10")
    assert record_of(one, tmp_path).notes == (note,)


OWN = """
from torch import nn


def taking(**kwargs):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), Head(**kwargs))


def fixed():
    return taking(num_classes=4)


class Head(nn.Linear):
    def __init__(self, num_classes):
        super().__init__(4, num_classes)
"""


def test_a_callables_network_is_trained_only_for_the_classes_that_it_gives(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "own_kwargs.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    variant = Variant("own_kwargs:taking", input_shape=(3, 32, 32), num_classes=10)
    record = record_of(Experiment("train", (variant,), 0, DATA, TRAIN), tmp_path)
    assert (record.status, record.variant.num_classes) == ("done", 10)
    events: list[Event] = []
    fixed = replace(variant, architecture="own_kwargs:fixed")
    with pytest.raises(InputError, match=r"^num_classes: got 10, but 'own_kwargs:fixed' gives 4 classes\. It has no"):
        record_of(Experiment("train", (fixed,), 0, DATA, TRAIN), tmp_path, say=events.append)
    assert not events
    notes = record_of(Experiment("cost", (fixed,)), tmp_path).notes
    assert any(note.startswith("num_classes: got 10, but 'own_kwargs:fixed' gives 4 classes") for note in notes)
