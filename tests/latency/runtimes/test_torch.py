"""The runtime that all figures so far come from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from drbench.latency import timer
from drbench.latency.runtimes import RUNTIMES
from drbench.records import LatencySettings

SETTINGS = LatencySettings(device="cpu", threads=1)


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_computes_what_the_network_computes(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
    prepared = RUNTIMES[name].prepare(model, SETTINGS, (3, 8, 8))
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.eval()(images)
    for _ in range(2):  # the same images in every call
        torch.testing.assert_close(torch.as_tensor(prepared.call(2)()), expected)


@pytest.mark.parametrize("name", RUNTIMES)
def test_networks_are_timed_by_it(name: str) -> None:
    runtime, brief = RUNTIMES[name], LatencySettings(device="cpu", warmup_runs=0, min_runs=2, min_seconds=0)
    calls = {"net": runtime.prepare(nn.Conv2d(3, 4, 1), brief, (3, 8, 8)).call(1)}
    samples = timer.measure(calls, brief, wait=runtime.wait(torch.device("cpu")))
    assert all(second > 0 for turn in samples["net"] for second in turn)


def test_it_waits_for_a_device_and_not_for_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[Any] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    RUNTIMES["torch"].wait(torch.device("cpu"))()
    assert waited == []
    RUNTIMES["torch"].wait(torch.device("cuda:1"))()
    assert waited == [torch.device("cuda:1")]
