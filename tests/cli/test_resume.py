"""A run that is interrupted, or killed, goes on to the weights of one that was not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from drbench_db import Store
from safetensors.torch import load_file

from drbench.records import Record
from tests.cli.conftest import inside

SUITE = """
name = "short"
architectures = ["mobilenet_v1_0.25"]
operators = [{ operator = "drconv", regions = 2, operator_args = { experts = 2 } }]
only = ["*drconv*"]
stages = ["cost", "train"]
data = { args = { train = 200, test = 20 } }
train = { epochs = 4, batch_size = 10, ema_decay = 0.9, threads = 1 }
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "short.toml"
    path.write_text(SUITE)
    return path


def start(directory: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "drbench", "run", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=directory, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def recorded(directory: Path) -> tuple[str, dict[str, Record]]:
    with Store.open(directory / "drbench.db") as store:
        return store.run().status, {record.stage: record for record in store.records()}


@pytest.fixture(scope="module")
def whole(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Record:
    """The training that nothing happened to."""
    directory = tmp_path_factory.mktemp("whole")
    done = inside(["run", "suite", suite], directory)
    assert done.returncode == 0, done.stderr
    return recorded(directory)[1]["train"]


def damaged_checkpoint_is_a_failed_variant_with_its_reason(killed: Path) -> None:
    copy = killed / "copy"
    copy.mkdir()
    shutil.copytree(killed / "drbench-files", copy / "drbench-files")
    for name in ("drbench.db", "drbench.db-wal"):
        if (killed / name).exists():
            shutil.copy(killed / name, copy)
    (checkpoint,) = (copy / "drbench-files").glob("*/*/checkpoint.safetensors")
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2])
    done = inside(["run", "--resume", "latest"], copy)
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    status, records = recorded(copy)
    assert status == "failed"
    assert "checkpoint" in records["train"].error
    assert "Traceback" in Path(records["train"].files["traceback"]).read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_resumed_training_ends_with_the_same_weights(
    suite: Path, whole: Record, tmp_path: Path, number: signal.Signals
) -> None:
    process = start(tmp_path, "suite", suite)
    assert process.stderr is not None
    for line in process.stderr:
        if "epoch 2 of 4" in line:
            break
    process.send_signal(number)
    out, errors = process.communicate()
    status, records = recorded(tmp_path)
    assert set(records) == {"cost"}
    if number is signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        assert status == "running"
        run = "latest"
        damaged_checkpoint_is_a_failed_variant_with_its_reason(tmp_path)
    else:
        assert process.returncode == 130
        assert status == "interrupted"
        assert "interrupted: 1 done" in out
        assert errors.splitlines()[-1].startswith("drbench: error: interrupted; continue with: drbench run --resume ")
        assert "Traceback" not in errors
        run = errors.split()[-1]

    again = inside(["run", "--resume", run], tmp_path)
    assert again.returncode == 0, again.stderr
    assert "1 done, 0 failed, 1 already done" in again.stdout
    assert "epoch 2 of 4" not in again.stderr
    status, records = recorded(tmp_path)
    assert status == "done"
    resumed = records["train"]
    assert [epoch.number for epoch in resumed.epochs] == [1, 2, 3, 4]
    assert resumed.outcomes == whole.outcomes
    ours, theirs = load_file(resumed.files["weights"]), load_file(whole.files["weights"])
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].equal(value), name
