"""Every module has a test file beside it, or tests/README.md says where it is tested and why."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "drbench"


def table() -> dict[str, list[str]]:
    """Module, or a glob over modules -> the files that test it."""
    rows = re.findall(r"^\| (`.*?) \| (`.*?) \| \w", (TESTS / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    return {
        module: re.findall(r"`(.*?)`", files) for modules, files in rows for module in re.findall(r"`(.*?)`", modules)
    }


def modules() -> list[str]:
    paths = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    return sorted(str(path) for path in paths)


def test_every_module_has_a_test_file_or_is_in_the_table() -> None:
    untested = [
        name
        for name in modules()
        if not (TESTS / name).with_name(f"test_{Path(name).name}").exists()
        and not any(fnmatchcase(name, row) for row in table())
    ]
    assert untested == []


def test_the_table_names_what_exists() -> None:
    assert table()
    for row, files in table().items():
        assert any(fnmatchcase(name, row) for name in modules()), row
        assert files, row
        assert [name for name in files if not (TESTS / name).is_file()] == [], row
