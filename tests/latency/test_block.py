"""A block in a real process, from the experiment to its records: what is in them, never how large the times are."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
import torch
from drbench_kernels import native

from drbench.errors import FailedError
from drbench.executor import Limits
from drbench.identity import variant_hash
from drbench.latency import block, schedule, turns
from drbench.records import Experiment, LatencySettings, Variant
from drbench.workers import Workers

SMALL = {"input_shape": (3, 32, 32), "num_classes": 10, "stem_stride": 1}
PLAIN = Variant("mobilenet_v1_0.25", **SMALL)
DRCONV = Variant("mobilenet_v1_0.25", operator="drconv", operator_args={"regions": 2}, **SMALL)
QUICK = LatencySettings(
    batch_sizes=(1, 2), workers=2, warmup_runs=1, min_runs=3, min_seconds=0.0, threads=1, device="cpu"
)
CRASHING = """
import ctypes
from torch import nn


def plain(num_classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, num_classes))


class Falling(nn.Conv2d):
    def forward(self, x):
        ctypes.string_at(0)


def network(num_classes):
    return nn.Sequential(nn.Conv2d(3, 3, 1), *plain(num_classes))
"""


def test_a_network_is_timed_as_it_says() -> None:
    network = block.prepared(PLAIN, replace(QUICK, dtype="bfloat16"))
    weight = next(module.weight for module in network.model.modules() if isinstance(module, torch.nn.Conv2d))
    assert not network.model.training
    assert weight.dtype == torch.bfloat16
    assert weight.is_contiguous(memory_format=torch.channels_last)
    seen: list[torch.Tensor] = []
    network.model.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    network.call(3)()
    assert seen[0].shape == (3, 3, 32, 32)
    assert seen[0].dtype == torch.bfloat16
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert network.call(3)().is_inference()


def test_the_copy_is_equal_and_another() -> None:
    one, other = block.prepared(DRCONV, QUICK), block.prepared(DRCONV, QUICK)
    assert torch.equal(one.call(1)(), other.call(1)())
    assert not {p.data_ptr() for p in one.model.parameters()} & {p.data_ptr() for p in other.model.parameters()}


def test_only_region_convolutions_name_their_kernels() -> None:
    assert block.prepared(PLAIN, QUICK).about() == {}
    assert set(block.prepared(DRCONV, QUICK).about()) == {"kernels"}


@pytest.mark.skipif(not native.ready(), reason="no native kernels here")
def test_a_process_that_is_older_than_the_kernels_loads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers and residents stem from servers that were started before anything was built."""
    monkeypatch.setattr(native, "_loaded", None)
    assert not native.ready()
    network = block.prepared(DRCONV, QUICK)
    assert native.ready()
    assert network.about() == {"kernels": f"native {native.kernels()}"}


def test_records_from_processes(tmp_path: Path) -> None:
    with Workers() as workers:
        one = Experiment("latency", (PLAIN, DRCONV), latency=QUICK)
        plain, converted = schedule.measure(one, workers, Limits(seconds=120), workdir=tmp_path)
    assert (plain.error, converted.error) == ("", "")
    names = ["latency", "latency_ratio", "latency_floor"]
    assert [(m.name, m.context["batch_size"]) for m in converted.measurements] == [
        (n, b) for b in (1, 2) for n in names
    ]
    assert [m.name for m in plain.measurements] == ["latency", "latency_floor"] * 2
    for m in (*plain.measurements, *converted.measurements):
        about = {key: m.context[key] for key in ("threads", "dtype", "device", "channels_last")}
        assert about == {"threads": 1, "dtype": "float32", "device": "cpu", "channels_last": True}
        assert len(m.context["workers"]) == 2
        assert sum(m.context["workers"]) == len(m.samples)
        if m.unit == "ratio":
            low, high = m.context["interval"]
            assert low <= m.value <= high
            first = m.context["workers"][0]
            assert m.context["worker_log_ratios"][0] == pytest.approx(median(map(math.log, m.samples[:first])))
        else:
            assert m.value == median(m.samples)


def test_a_crash_of_a_variant_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "falling.py").write_text(CRASHING)
    monkeypatch.chdir(tmp_path)
    plain = Variant("falling:network", input_shape=(3, 8, 8), num_classes=10)
    falls = replace(plain, operator="falling:Falling", where=("*",))
    settings = replace(QUICK, batch_sizes=(1,))
    with Workers() as workers:
        one = Experiment("latency", (plain, falls), latency=settings)
        records = {r.variant_hash: r for r in schedule.measure(one, workers, Limits(seconds=120), workdir=tmp_path)}
    good, bad = records[variant_hash(plain)], records[variant_hash(falls)]
    assert good.status == "done"
    assert bad.status == "failed"
    assert bad.error.startswith("crashed: ")
    assert "SIGSEGV" in bad.error


def test_what_a_block_times_takes_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the real block: the seats that there are, with as many turns each."""
    found = block.block(PLAIN, None, replace(QUICK, batch_sizes=(1,)), say=lambda event: None)
    assert set(found["samples"][1]) == {turns.PLAIN, turns.COPY}
    assert {len(taken) for taken in found["samples"][1].values()} == {3}
    assert found["load"].others >= 0


def test_a_failing_call_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "narrow.py").write_text(
        "from torch import nn\n\n\ndef network(num_classes):\n    return nn.Conv2d(4, num_classes, 1)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    wrong = Variant("narrow:network", input_shape=(3, 8, 8), num_classes=10)
    with pytest.raises(FailedError, match=r"plain failed while it was timed: RuntimeError: .*expected input"):
        block.block(wrong, None, replace(QUICK, batch_sizes=(1,)), say=lambda event: None)
