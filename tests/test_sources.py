"""Hashes of the users' own source files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from drbench.sources import source_hashes


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own_sources_module.py"
    path.write_text("class Table:\n    @staticmethod\n    def entry():\n        return 7\n")
    return path


def test_a_source_is_hashed_whole(own: Path) -> None:
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    assert source_hashes(["own_sources_module:Table", "registered"]) == {"own_sources_module:Table": digest}


def test_a_package_that_hands_a_callable_on_has_the_source_of_both(own: Path) -> None:
    inner = own.with_name("own_inner_module.py")
    inner.write_text("def made():\n    return 1\n")
    own.with_name("own_outer_module.py").write_text(
        "from functools import partial\nfrom own_inner_module import made\nhalf = partial(made)\n"
    )
    names = ["own_outer_module:made", "own_outer_module:half"]
    before = source_hashes(names)
    inner.write_text("def made():\n    return 2\n")
    after = source_hashes(names)
    assert all(before[name] != after[name] for name in names)
