"""Databases and model files from elsewhere: the code that they name runs only with --trust (real commands)."""

from __future__ import annotations

import shutil

import pytest

OWN = """
from torch import nn

open("IMPORTED", "w").close()


def tiny(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)
    )


class Op(nn.Conv2d):
    pass
"""
MODEL = ("run", "model", "own_trusted:tiny", "--operator", "own_trusted:Op", "--where", "0")


@pytest.fixture
def begun(drbench, tmp_path):
    """A run of one's own code: its id. Afterwards IMPORTED says whether the code was imported again."""
    (tmp_path / "own_trusted.py").write_text(OWN)
    result = drbench(*MODEL, "--stages", "cost,train", "--epochs", 1, "--batch-size", 512, "--threads", 1)
    assert result.code == 0, result.err
    (tmp_path / "IMPORTED").unlink()
    return result.out.split("run ")[-1].split()[0].rstrip(":")


def test_a_run_that_came_with_a_database_is_resumed_only_with_trust(begun, drbench, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))  # another machine's user
    refused = drbench("run", "--resume", "latest")
    assert refused.code == 2
    assert "which this machine did not start, names code to import: 'own_trusted:Op', 'own_trusted:tiny'" in refused.err
    assert "--trust own_trusted:Op --trust own_trusted:tiny" in refused.err
    half = drbench("run", "--resume", "latest", "--trust", "own_trusted:tiny")
    assert half.code == 2
    assert "names code to import: 'own_trusted:Op'. " in half.err
    assert "--trust own_trusted:Op --trust own_trusted:tiny" in half.err  # all of them, to be copied
    assert not (tmp_path / "IMPORTED").exists()
    allowed = drbench("run", "--resume", "latest", "--trust", "own_trusted:tiny", "--trust", "own_trusted:Op")
    assert allowed.code == 0, allowed.err
    assert (tmp_path / "IMPORTED").exists()


def test_ones_own_run_is_resumed_without(begun, drbench):
    result = drbench("run", "--resume", "latest")
    assert (result.code, "4 already done" in result.out) == (0, True), result.err


def test_a_model_file_may_not_bring_its_operator(begun, drbench, tmp_path):
    files = sorted((tmp_path / "drbench-files" / begun).glob("*/weights.safetensors"))
    assert len(files) == 2
    results = []
    for number, file in enumerate(files):
        shutil.copy(file, tmp_path / f"{number}.safetensors")
        command = ("run", "model", "own_trusted:tiny", "--eval-only", "--weights", f"{number}.safetensors")
        result = drbench(*command)
        if result.code:
            assert "names code to import: 'own_trusted:Op'" in result.err
            result = drbench(*command, "--trust", "own_trusted:Op")
            results.append("operator")
        assert result.code == 0, result.err
    assert results == ["operator"]  # the plain network's file names what the command names


def test_an_id_that_is_a_path_writes_nothing(begun, drbench, tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "drbench.db") as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("UPDATE run SET id = '../../outside'")
        connection.execute("UPDATE record SET run_id = '../../outside'")
    connection.close()
    result = drbench("run", "--resume", "latest", "--trust", "own_trusted:tiny", "--trust", "own_trusted:Op")
    assert (result.code, result.err.count("\n")) in ((2, 1), (4, 1)), result.err
    assert not (tmp_path / ".." / ".." / "outside").exists()
