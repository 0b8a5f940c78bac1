"""Names: of a registry, or package.module:callable."""

from __future__ import annotations

from pathlib import Path

import pytest

from drbench.errors import InputError
from drbench.names import is_import, resolve


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own_names_module.py"
    path.write_text("class Table:\n    @staticmethod\n    def entry():\n        return 7\nvalue = 3\n")
    (tmp_path / "own_broken_module.py").write_text("raise RuntimeError('broken\\nat import')\n")
    return path


def test_a_registered_name_is_its_entry() -> None:
    assert resolve("thing", "a", {"a": len}) is len


def test_an_unknown_name_is_answered_with_the_nearest_and_all() -> None:
    with pytest.raises(
        InputError, match=r"unknown thing 'mobilnet': did you mean 'mobilenet'\? Known: mobilenet, smoke"
    ):
        resolve("thing", "mobilnet", {"mobilenet": len, "smoke": len})


def test_a_callable_comes_from_the_current_directory(own: Path) -> None:
    found = resolve("thing", "own_names_module:Table.entry", {})
    assert callable(found)
    assert found() == 7


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("own_names_module:absent", "has no 'absent'"),
        ("own_names_module:", "has no ''"),
        ("own_names_module:value", "is a int, not something that can be called"),
        ("own_absent_module:f", "ModuleNotFoundError"),
        ("own_broken_module:f", "RuntimeError: broken"),
    ],
)
def test_what_cannot_be_had_is_one_line(own: Path, name: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        resolve("thing", name, {})
    assert "\n" not in str(caught.value)


def test_a_module_that_ends_the_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_leaving_module.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="importing 'own_leaving_module' failed: SystemExit: 3"):
        resolve("model", "own_leaving_module:net", {})


def test_an_import_has_a_colon() -> None:
    assert is_import("a.b:c")
    assert not is_import("a.b")
