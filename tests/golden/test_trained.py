"""A run that old code began is resumed to what old code would have made of it; old model files give the same logits."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from drbench_db.rows import hashed
from safetensors.torch import load_file

from drbench.measure.machine import machine
from drbench.models import create_model, load_model
from tests.cli.conftest import inside
from tests.golden.trained import DRAWN, DRAWN_AS, FOUND, HERE, INTERRUPTED, TRAINED, images

WANTED = json.loads(FOUND.read_text(encoding="utf-8"))


def select(path: Path, statement: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(statement)]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that was interrupted, as if that had been on this machine: else it is not resumed."""
    folder = tmp_path_factory.mktemp("interrupted")
    shutil.copytree(INTERRUPTED, folder, dirs_exist_ok=True)
    shutil.copy(HERE / "own.py", folder)
    facts = asdict(machine())
    (columns,) = select(folder / "drbench.db", "SELECT * FROM machine")
    facts = {name: facts[name] for name in columns if name in facts}
    with closing(sqlite3.connect(folder / "drbench.db")) as connection, connection:
        names = ", ".join(f"{name} = ?" for name in (*facts, "hash"))
        connection.execute(f"UPDATE machine SET {names}", [*facts.values(), hashed(facts)])
    return folder


@pytest.fixture(scope="module")
def resumed(interrupted: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The directory after `drbench run --resume`, and the records that were there before."""
    before = select(interrupted / "drbench.db", "SELECT * FROM record ORDER BY id")
    said = inside(["run", "--resume", "latest", "--trust", "own:tiny", "--db", "drbench.db"], interrupted)
    assert said.returncode == 0, said.stderr
    return interrupted, before


def test_only_what_was_missing_is_done(resumed: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, before = resumed
    after = select(folder / "drbench.db", "SELECT * FROM record ORDER BY id")
    assert len(before) == 7
    shared = before[0].keys() & after[0].keys()
    assert [{name: row[name] for name in shared} for row in after[:7]] == [
        {name: row[name] for name in shared} for row in before
    ]
    (new,) = after[7:]
    assert (new["stage"], new["label"], new["seed"], new["status"]) == ("train", "drconv m=2", 0, "done")
    assert new["work_key"] == WANTED["key"]
    assert [row["status"] for row in select(folder / "drbench.db", "SELECT status FROM run")] == ["done"]


def test_the_training_goes_on_where_it_was(resumed: tuple[Path, list[dict[str, Any]]]) -> None:
    """Of the epochs that were done before, even the time they took is the one of then."""
    folder, _ = resumed
    epochs = select(
        folder / "drbench.db", "SELECT * FROM epoch JOIN record ON id = record_id WHERE label LIKE 'drconv%'"
    )
    assert [epoch["number"] for epoch in epochs] == [1, 2, 3, 4, 5]
    assert [epoch["seconds"] for epoch in epochs[:2]] == [0.2246935780003696, 0.2109474169992609]
    for name in ("train_loss", "val_loss", "learning_rate"):
        wanted = [epoch[name] for epoch in WANTED["epochs"]]
        assert [epoch[name] for epoch in epochs] == pytest.approx(wanted, rel=1e-3), name


def test_it_ends_with_the_weights_of_a_run_that_was_not_interrupted(
    resumed: tuple[Path, list[dict[str, Any]]],
) -> None:
    folder, _ = resumed
    statement = "SELECT path FROM file JOIN record ON id = record_id WHERE name = 'weights' AND label LIKE 'drconv%'"
    (file,) = select(folder / "drbench.db", statement)
    ours, theirs = load_file(folder / file["path"]), load_file(TRAINED)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():  # not bit by bit: it may be another processor
        torch.testing.assert_close(
            ours[name], value, rtol=1e-2, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_a_trained_model_file_gives_the_same_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(HERE / "own.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with mock.patch.dict(sys.modules):  # other tests have another module of this name
        sys.modules.pop("own", None)
        same_logits(load_model(TRAINED, trust=("own:tiny",)), "trained")


def test_a_model_file_of_a_registered_network_gives_the_same_logits() -> None:
    same_logits(load_model(DRAWN), "drawn")


def test_a_seed_draws_the_same_weights() -> None:
    made, kept = create_model(**DRAWN_AS), load_file(DRAWN)  # type: ignore[arg-type]
    assert made.state_dict().keys() == kept.keys()
    for name, value in made.state_dict().items():
        torch.testing.assert_close(value, kept[name], rtol=0, atol=1e-6)


def same_logits(model: torch.nn.Module, name: str) -> None:
    with torch.inference_mode():
        found = model(images(model.variant.input_shape))  # type: ignore[arg-type, union-attr]
    torch.testing.assert_close(found, torch.tensor(WANTED["logits"][name]), rtol=1e-5, atol=1e-5)
