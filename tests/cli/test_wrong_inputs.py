"""Wrong input of every kind: one clear line, the documented exit code, nothing left behind."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from drbench_db import Store

RUN = ("run", "suite", "smoke")
ABSENT = next((name for name in ("cuda", "mps") if not getattr(torch, name).is_available()), None)
"""A device that torch knows and this machine does not have."""


def refused(found, code: int, *parts: str) -> None:
    lines = found.err.splitlines()
    assert found.code == code, found.err
    assert len(lines) == 1, found.err
    assert lines[0].startswith("drbench: error: ")
    for part in parts:
        assert part in lines[0]
    assert found.out == ""


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("run", "suite", "mobilnet"), ("unknown suite 'mobilnet'", "did you mean 'mobilenet'", "shufflenet")),
        (("run", "model", "mobilenet_v1_0.3"), ("unknown model 'mobilenet_v1_0.3'", "mobilenet_v1_0.25")),
        ((*RUN, "--model", "resnet"), ("unknown model 'resnet'", "package.module:callable")),
        ((*RUN, "--data", "cifar1O"), ("unknown data set 'cifar1O'", "did you mean 'cifar10'")),
        ((*RUN, "--operator", "drcnv"), ("unknown operator 'drcnv'", "did you mean 'drconv'")),
        ((*RUN, "--where", "last-pontwise"), ("unknown recipe 'last-pontwise'", "did you mean 'last-pointwise'")),
        ((*RUN, "--preset", "quik"), ("unknown preset 'quik'", "did you mean 'quick'")),
        ((*RUN, "--regions", "0"), ("--regions: got '0'", "at least 1")),
        ((*RUN, "--regions", "-1"), ("--regions: got '-1'", "at least 1")),
        ((*RUN, "--regions", "x"), ("--regions: got 'x'", "whole numbers")),
        ((*RUN, "--regions", "4,,8"), ("--regions: got '4,,8'", "whole numbers")),
        ((*RUN, "--regions", "8,8"), ("--regions: got '8,8'", "each number once")),
        ((*RUN, "--operator", "condconv", "--regions", "8"), ("--regions", "no operator with `regions`")),
        ((*RUN, "--seeds", "0"), ("--seeds: got 0; expected greater than 0",)),
        ((*RUN, "--seeds", "many"), ("--seeds",)),
        ((*RUN, "--epochs", "-3"), ("--epochs: got -3; expected greater than 0",)),
        ((*RUN, "--stages", "cost,trian"), ("--stages: got 'trian'", "'train'")),
        ((*RUN, "--match", "flops"), ("--match: got 'flops'", "'madds' or 'params'")),
        ((*RUN, "--precision", "fp8"), ("'fp8'",)),
        ((*RUN, "--input", "3,224"), ("--input: got '3,224'", "3,224,224")),
        ((*RUN, "--set", "experts"), ("--set: got 'experts'", "key=value")),
        ((*RUN, "--only", "mobilenet*"), ("leave no network", "shufflenet_v2_x0_5/conv")),
        ((*RUN, "--device", "tpu", "--epochs", "1"), ("--device: got 'tpu'",)),
        ((*RUN, "--set", "foo=1"), ("operator 'drconv' has no argument 'foo'", "experts")),
        ((*RUN, "--val-fraction", "1.5"), ("--val-fraction: got 1.5; expected less than 1",)),
        ((*RUN, "--data", "cifar10"), ("--data-root",)),
        ((*RUN, "--data", "cifar10", "--data-root", "nowhere"), ("cifar10", "nowhere")),
        ((*RUN, "--data", "imagefolder", "--data-root", "."), ("train/CLASS",)),
        (("run", "model", "nowhere:net"), ("model 'nowhere:net'", "importing 'nowhere' failed")),
        (("run", "model", "math:pi"), ("math:pi", "float")),
        (("run", "model", "mobilenet_v1_0.25", "--eval-only"), ("--weights",)),
        (("run", "model", "mobilenet_v1_0.25", "--eval-only", "--weights", "no.safetensors"), ("no.safetensors",)),
        (("run", "--resume", "latest"), ("drbench.db",)),
        (("run",), ("drbench run: expected what to run",)),
        (("report", "--db", "nowhere.db"), ("nowhere.db",)),
        (("report", "--format", "pdf"), ("unknown format 'pdf'", "json")),
        (("models", "show", "shufflenet"), ("unknown model 'shufflenet'",)),
        (("models", "show", "mobilenet_v1_0.25", "--regions", "0"), ("at least 1",)),
        (("suites", "show", "nowhere.toml"), ("nowhere.toml", "No such file")),
        (("suites", "show", "."), ("unknown suite '.'",)),
        (("reprot",), ("reprot", "--help")),
        ((*RUN, "--regions", f"{10**30}"), ("regions", "whole number")),
        ((*RUN, "--regions", "5000"), ("regions", "4096")),
        ((*RUN, "--regions", "9" * 5000), ("--regions",)),
        ((*RUN, "--set", f"regions={10**30}"), ("regions", "64 bits")),
        ((*RUN, "--batch-size", f"{10**19}"), ("batch_size",)),
        ((*RUN, "--batch-sizes", f"{10**9}"), ("--batch-sizes", "16777216")),
        ((*RUN, "--seeds", f"{10**9}"), ("seeds", "10000")),
        ((*RUN, "--seeds", "9" * 5000), ("--seeds",)),
        ((*RUN, "--num-classes", f"{10**18}"), ("--num-classes", "100000000")),
        ((*RUN, "--input", "²"), ("--input", "3,224,224")),
        ((*RUN, "--input", "3,70000,70000"), ("--input", "65536")),
        ((*RUN, "--memory-limit", "1e300"), ("--memory-limit", "GiB")),
        ((*RUN, "--timeout", "nan"), ("--timeout", "seconds")),
        ((*RUN, "--threads", f"{10**9}"), ("--threads", "65536")),
        ((*RUN, "--lr", "inf"), ("learning_rate", "finite")),
        ((*RUN, "--shard", "²/4"), ("--shard", "PART/PARTS")),
        (("check", "smoke", "--max-time", "inf"), ("--max-time", "seconds")),
        (("noise", "smoke", "--max-time", "1e300"), ("--max-time", "seconds")),
        (("models", "show", "mobilenet_v1_0.25", "--num-classes", f"{10**18}"), ("--num-classes", "100000000")),
        ((*RUN, "--regoins", "8"), ("--regoins",)),
    ],
    ids=lambda value: " ".join(value)[-40:],
)
def test_words_that_mean_nothing(drbench, tmp_path: Path, arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    refused(drbench(*arguments), 2, *parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"name = 'x'\narchitectures = [", ("not valid TOML", "mine.toml")),
        (b"\xff\xfe", ("UTF-8",)),
        (
            b"name = 'x'\narchitectures = ['mobilenet_v1_0.25']\nseeds = 'two'",
            ("seeds: got", "expected a valid integer", "'two'"),
        ),
        (
            b"name = 'x'\narchitectures = 3",
            (
                "architectures: got",
                "expected a valid",
            ),
        ),
        (b"name = 'x'\narchitecture = ['a']", ("unknown key 'architecture'", "did you mean 'architectures'")),
        (b"", ("name: the key is missing",)),
    ],
    ids=["unclosed", "utf-16", "text for a number", "number for a list", "unknown key", "empty"],
)
def test_suite_files(drbench, tmp_path: Path, content: bytes, parts: tuple[str, ...]) -> None:
    (tmp_path / "mine.toml").write_bytes(content)
    refused(drbench("run", "suite", "mine.toml"), 2, *parts)
    found = drbench("suites", "validate", "mine.toml")
    first, *others = found.err.splitlines()
    refused(replace(found, err=first), 2, *parts)
    assert all(line.startswith("drbench: error: suite 'mine.toml': ") for line in others)


def test_validate_lists_all_errors_of_a_suite(drbench, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("name = 'x'\nseeds = 0\narchitecture = ['a']\n[train]\nepochs = 'two'\n")
    found = drbench("suites", "validate", "mine.toml")
    assert found.code == 2
    assert [line.removeprefix("drbench: error: suite 'mine.toml': ")[:22] for line in found.err.splitlines()] == [
        "unknown key 'architect",
        "architectures: the key",
        "train.epochs: got 'two",
        "seeds: got 0; expected",
    ]


@pytest.mark.skipif(ABSENT is None, reason="this machine has every kind of device")
def test_a_device_that_is_missing_is_refused_before_a_run_begins(drbench, tmp_path: Path) -> None:
    refused(drbench(*RUN, "--stages", "latency", "--device", ABSENT), 2, f"device: got '{ABSENT}'", "does not have")
    with Store.open(tmp_path / "drbench.db") as store:
        assert not store.runs()


def test_truncated_data(drbench, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(b"\x80\x04")
    refused(drbench(*RUN, "--data", "cifar10", "--data-root", "data"), 2, "cifar10")


def test_unknown_column_and_run(drbench, smoke) -> None:
    db = smoke[0] / "drbench.db"
    refused(drbench("report", "--db", db, "--columns", "mads"), 2, "unknown column 'mads'", "did you mean 'madds'")
    refused(drbench("report", "--db", db, "--sort", "mads"), 2, "unknown column 'mads'")
    refused(drbench("report", "--db", db, "--suite", "smok"), 2, "unknown suite 'smok'")
    refused(drbench("show", "1999", "--db", db), 2, "no run '1999'")
    refused(drbench("report", "--db", db, "-o", "no/such/folder.md"), 2, "no/such/folder.md")


def test_a_database_that_is_a_text_file(drbench, tmp_path: Path) -> None:
    (tmp_path / "drbench.db").write_text("Dear diary, " * 200)
    for arguments in (("report",), (*RUN, "--stages", "cost")):
        refused(drbench(*arguments), 2, "drbench.db", "not an SQLite database")


def test_a_database_newer_than_the_code(drbench, smoke, tmp_path: Path) -> None:
    shutil.copy(smoke[0] / "drbench.db", tmp_path / "drbench.db")
    with sqlite3.connect("drbench.db") as connection:
        connection.execute("UPDATE drbench_revision SET version_num = '9999'")
    connection.close()
    for arguments in (("report",), (*RUN, "--stages", "cost")):
        refused(drbench(*arguments), 2, "drbench.db", "newer")


def test_a_database_that_is_locked(drbench, smoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(smoke[0] / "drbench.db", tmp_path / "drbench.db")
    monkeypatch.setenv("DRBENCH_DB_TIMEOUT", "0.1")
    connection = sqlite3.connect("drbench.db", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        refused(drbench("runs", "rm", "latest"), 4, "locked by another process")
    finally:
        connection.close()


def test_a_database_that_is_read_only(drbench, smoke, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write to read-only files")
    shutil.copy(smoke[0] / "drbench.db", tmp_path / "drbench.db")
    (tmp_path / "drbench.db").chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        refused(drbench("runs", "rm", "latest"), 2, "read-only")
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk(drbench, smoke) -> None:
    refused(drbench("report", "--db", smoke[0] / "drbench.db", "-o", "/dev/full"), 4, "No space left on device")


def test_a_disk_that_fills_up_during_a_run(tmp_path: Path) -> None:
    with Store.open(tmp_path / "drbench.db", write=True):
        pass
    size = 16 * 1024  # of any one file from now on: no room for the log of what is to be written

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    command = [sys.executable, "-m", "drbench", "run", "model", "mobilenet_v1_0.25", "--stages", "cost"]
    done = subprocess.run(command, cwd=tmp_path, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert done.stderr.splitlines()[-1].startswith("drbench: error: database drbench.db")
    assert "Traceback" not in done.stderr


def test_truncated_weights(drbench, smoke, tmp_path: Path) -> None:
    (weights, *_) = (smoke[0] / "drbench-files").glob("*/*/weights.safetensors")
    content = weights.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[: len(content) // 2])
    arguments = ("run", "model", "shufflenet_v2_x0_5", "--eval-only", "--weights")
    refused(drbench(*arguments, "cut.safetensors"), 2, "'cut.safetensors' is truncated")
    (tmp_path / "none.safetensors").write_bytes(b"\x00")
    refused(drbench(*arguments, "none.safetensors"), 2, "none.safetensors")
