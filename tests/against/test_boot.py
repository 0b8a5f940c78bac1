"""Whose files a side imports, in a real Python; no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from drbench.against import boot

SAY = """
import json, sys
sys.path.insert(0, {boot!r})
import boot
{before}
boot.move({repository!r}, {worktree!r})
import net
print(json.dumps([net.__file__, sys.path]))
"""


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """A repository and a worktree of it, with a package under src in both."""
    for name in ("repo", "tree"):
        (tmp_path / name / "src" / "net").mkdir(parents=True)
        (tmp_path / name / "src" / "net" / "__init__.py").write_text("")
    return tmp_path / "repo", tmp_path / "tree"


def said(two: tuple[Path, Path], before: str = "", **environment: str) -> tuple[Path, list[str]]:
    repository, worktree = map(str, two)
    script = SAY.format(boot=str(Path(boot.__file__).parent), before=before, repository=repository, worktree=worktree)
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    file, path = json.loads(done.stdout)
    return Path(file), path


def test_what_pythonpath_names_in_the_repository_comes_from_the_worktree(two: tuple[Path, Path]) -> None:
    file, _ = said(two, PYTHONPATH=str(two[0] / "src"))
    assert file == two[1] / "src" / "net" / "__init__.py"


def test_what_was_installed_in_place_comes_from_the_worktree(two: tuple[Path, Path]) -> None:
    """As setuptools does it: a finder with a table of packages."""
    before = f"""
import importlib.util, types
finder = types.ModuleType("__editable___net_finder")
finder.MAPPING = {{"net": {str(two[0] / "src" / "net")!r}}}
class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in finder.MAPPING:
            return importlib.util.spec_from_file_location(name, finder.MAPPING[name] + "/__init__.py")
sys.modules[finder.__name__] = finder
sys.meta_path.append(Finder)
"""
    file, _ = said(two, before)
    assert file == two[1] / "src" / "net" / "__init__.py"


def test_an_environment_inside_the_repository_stays(two: tuple[Path, Path]) -> None:
    place = two[0] / ".venv" / "lib" / "site-packages"
    _, path = said(two, PYTHONPATH=f"{two[0] / 'src'}{os.pathsep}{place}")
    assert str(place) in path
    assert str(two[0] / "src") not in path


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/r/repo", "/w"), ("/r/repo/src", "/w/src"), ("/r/repository", "/r/repository"), ("/usr/lib", "/usr/lib")],
)
def test_only_what_lies_inside_is_moved(path: str, expected: str) -> None:
    assert boot.moved(path, "/r/repo", "/w") == expected
