"""Reports and checks of the kept database say what they said when it was made."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.golden.outputs import CASES, EXPECTED, FIGURES, KEPT, command, differences, figures, unpack


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the kept database and baseline."""
    folder = tmp_path_factory.mktemp("golden")
    unpack(folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_the_text_is_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """To change wording: `python -m tests.golden.make --outputs`, in a commit of its own."""
    monkeypatch.chdir(folder)
    code, text = command(CASES[name])
    assert text == (EXPECTED / name).read_text(encoding="utf-8")
    assert code == CASES[name].code


def test_the_figures_are_the_same(folder: Path) -> None:
    """These are never made anew. A field with another name is renamed where `outputs.figures` reads it."""
    kept = json.loads(FIGURES.read_text(encoding="utf-8"))
    assert list(differences(kept, figures(folder))) == []


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_the_time_zone_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TZ", zone)
    for name in ("runs.txt", "show-ops.txt"):
        assert command(CASES[name])[1] == (EXPECTED / name).read_text(encoding="utf-8")


def test_the_kept_database_holds_what_matters() -> None:
    with closing(sqlite3.connect(f"{KEPT.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:

        def ask(statement: str) -> set[object]:
            return {row[0] for row in connection.execute(statement)}

        assert ask("SELECT name FROM suite") == {"five", "two", "own", "ops"}
        assert ask("SELECT hostname FROM machine") == {"first", "second"}
        assert ask("SELECT stage FROM record") == {"cost", "memory", "latency", "train", "noise", "ops"}
        assert ask("SELECT matched_by FROM variant") == {None, "madds", "params"}
        assert ask("SELECT status FROM record") == {"done", "failed"}
        assert ask("SELECT batch_size FROM measurement WHERE name = 'latency_ratio'") == {1, 8}
        assert ask("SELECT count(DISTINCT seed) FROM record WHERE stage = 'train' GROUP BY run_id") == {2, 5}
