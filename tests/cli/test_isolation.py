"""What happens to a variant happens to it alone: crashes, memory without end, a killed worker, through the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from drbench_db import Store

from drbench.records import Record

from .conftest import ENVIRONMENT, Command, process

NETS = """
import ctypes

import torch
from torch import nn


class Fine(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.conv = nn.Conv2d(3, num_classes, 1)

    def forward(self, images):
        return self.conv(images).mean((2, 3))


class Segfault(Fine):
    def forward(self, images):
        ctypes.string_at(0)


class Grows(Fine):
    def __init__(self, num_classes=10):
        super().__init__()
        kept = []
        while True:
            kept.append(torch.ones(1 << 22))


class Diverges(Fine):
    def forward(self, images):
        return super().forward(images) * float("nan")
"""
SUITE = """
name = "unruly"
architectures = ["isolation_nets:Fine", "isolation_nets:Segfault", "isolation_nets:Grows", "isolation_nets:Diverges"]
stages = ["cost", "memory", "train"]
data = { args = { train = 20, test = 10 } }
train = { epochs = 1, batch_size = 10, threads = 1 }
latency = { threads = 1 }
limits = { memory_gib = 1.2 }
"""
LONG = """
name = "long"
architectures = ["mobilenet_v1_0.25"]
stages = ["cost", "train"]
data = { args = { train = 400, test = 20 } }
train = { epochs = 3, batch_size = 10, threads = 1 }
"""


def records(directory: Path) -> list[Record]:
    with Store.open(directory / "drbench.db") as store:
        return list(store.records())


def descendants(directory: Path) -> list[psutil.Process]:
    """Processes of a command that was started in this directory."""
    found = []
    for one in psutil.process_iter():
        try:
            if one.environ().get("DRBENCH_TEST") == str(directory) and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
        except psutil.Error:
            pass
    return found


def test_each_bad_end_is_a_row_with_its_reason_and_the_others_are_measured(drbench: Command, tmp_path: Path) -> None:
    (tmp_path / "isolation_nets.py").write_text(NETS)
    (tmp_path / "unruly.toml").write_text(SUITE)
    done = process(["run", "suite", "unruly.toml"], tmp_path)
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    ends = {
        (r.stage, r.variant.architecture.partition(":")[2]): (r.settings.get("ended"), r.error)
        for r in records(tmp_path)
    }
    for stage in ("cost", "memory", "train"):
        assert ends[stage, "Fine"] == (None, "")
        assert ends[stage, "Segfault"] == ("crashed", "crashed: SIGSEGV")
        kind, error = ends[stage, "Grows"]
        assert (kind, error[:5]) == ("oom", "oom: ")
        assert "1.20 GiB" in error or "allocate" in error
    assert ends["cost", "Diverges"] == ends["memory", "Diverges"] == (None, "")
    kind, error = ends["train", "Diverges"]
    assert kind == "failed"
    assert "loss became nan" in error
    assert "crashed: SIGSEGV" in drbench("report").out

    again = drbench("run", "--resume", "latest")
    assert again.code == 4
    assert "0 done, 0 failed, 5 already done, 7 failed earlier" in again.out
    assert "--retry-failed" in again.out
    assert len(records(tmp_path)) == 12


@pytest.mark.skipif(sys.platform != "linux", reason="how Linux does it")
@pytest.mark.parametrize("victim", ["worker", "command"])
def test_nothing_is_lost_or_left_where_a_worker_or_the_command_is_killed(
    drbench: Command, tmp_path: Path, victim: str
) -> None:
    (tmp_path / "long.toml").write_text(LONG)
    started = subprocess.Popen(
        [sys.executable, "-m", "drbench", "run", "suite", "long.toml"],
        cwd=tmp_path,
        env={**ENVIRONMENT, "DRBENCH_TEST": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr is not None
    for line in started.stderr:
        if "epoch 1 of 3" in line:
            break
    (server,) = psutil.Process(started.pid).children()
    (worker,) = server.children()
    os.kill(worker.pid if victim == "worker" else started.pid, signal.SIGKILL)
    started.communicate()
    for _ in range(100):
        if not descendants(tmp_path):
            break
        time.sleep(0.1)
    assert descendants(tmp_path) == []
    before = records(tmp_path)
    assert before[0].status == "done"
    if victim == "worker":
        assert started.returncode == 4
        assert before[1].error == "crashed: SIGKILL (killed from outside)"
    else:
        assert len(before) == 1
        assert "killed" in drbench("runs", "list").out

    again = drbench("run", "suite", "long.toml", "--resume", "--retry-failed")
    assert again.code == 0, again.err
    assert "1 done, 0 failed, 1 already done" in again.out
    assert "epoch 1 of 3" not in again.err  # the checkpoint of the first epoch is whole
    after = [record for record in records(tmp_path) if record.status == "done"]
    assert [record.stage for record in after] == ["cost", "train"]
    assert after[0] == before[0]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--shard", "3/3"), 3, "shard 3/3 of suite 'smoke' is empty"),
        (("--shard", "0/3"), 2, "--shard: got '0/3'; expected PART/PARTS"),
        (("--shard", "x"), 2, "--shard: got 'x'; expected PART/PARTS"),
        (("--timeout", "0"), 2, "--timeout: got 0; expected seconds, above 0"),
        (("--memory-limit", "-1"), 2, "--memory-limit: got -1; expected GiB, above 0"),
        (("--retry-failed",), 2, "--retry-failed: expected --resume too"),
        (("--resume",), 2, "drbench.db"),
    ],
)
def test_limits_shards_and_resuming_say_what_is_wrong(
    drbench: Command, options: tuple[str, ...], code: int, words: str
) -> None:
    result = drbench("run", "suite", "smoke", "--stages", "cost", *options)
    assert (result.code, result.err.count("\n")) == (code, 1)
    assert words in result.err
