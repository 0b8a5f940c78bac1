"""A commit beside the working tree: where it lies, what is left of it, and what is said where there is none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from drbench.against.worktree import CACHES, KEPT_CACHES, caches, worktree
from drbench.errors import InputError


def git(where: Path, *arguments: str) -> str:
    names = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *names, *arguments], cwd=where, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits, the first one tagged; the current directory is a folder in it."""
    place = tmp_path / "repo"
    (place / "inner").mkdir(parents=True)
    git(tmp_path, "init", "--quiet", "repo")
    for text in ("old", "new"):
        (place / "inner" / "net.py").write_text(text)
        git(place, "add", ".")
        git(place, "commit", "--quiet", "--message", text)
        if text == "old":
            git(place, "tag", "v1")
    monkeypatch.chdir(place / "inner")
    return place


def test_the_commit_lies_beside_and_is_gone_afterwards(repository: Path) -> None:
    with worktree("v1") as tree:
        assert (tree.path / "inner" / "net.py").read_text() == "old"
        assert (repository / "inner" / "net.py").read_text() == "new"
        assert tree.directory == tree.path / "inner"
        assert tree.commit == git(repository, "rev-parse", "v1").strip()
        assert tree.repository == repository
    assert not tree.path.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_ctrl_c_leaves_nothing(repository: Path) -> None:
    with pytest.raises(KeyboardInterrupt), worktree("HEAD~1") as tree:
        raise KeyboardInterrupt
    assert not tree.path.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_hooks_of_the_repository_do_not_run(repository: Path) -> None:
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {repository / 'ran'}\n")
    hook.chmod(0o755)
    with worktree("v1"):
        assert not (repository / "ran").exists()


def test_a_folder_that_the_commit_does_not_have(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "later").mkdir()
    monkeypatch.chdir(repository / "later")
    with worktree("v1") as tree:
        assert tree.directory == tree.path


def test_changed_requirements_are_named(repository: Path) -> None:
    with worktree("v1") as tree:
        assert tree.requirements_changed() == []
        (repository / "requirements-dev.txt").write_text("torch")
        (repository / "pyproject.toml").write_text("[project]")
        git(repository, "add", ".")
        assert tree.requirements_changed() == ["pyproject.toml", "requirements-dev.txt"]


@pytest.mark.parametrize("ref", ["nowhere", "--output=x", "HEAD:inner"])
def test_no_such_commit(repository: Path, ref: str) -> None:
    with pytest.raises(InputError, match=r"expected a commit, branch or tag in .*repo"), worktree(ref):
        pass


@pytest.mark.parametrize("ref", ["", "a\0b", "x" * 100_000, "a\nb", "a\x1bb"])
def test_what_no_commit_can_be_called(repository: Path, ref: str) -> None:
    words = "expected a commit, branch or tag of at most 200 characters"
    with pytest.raises(InputError, match=words) as caught, worktree(ref):
        pass
    assert len(str(caught.value)) < 250


def test_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(InputError, match="is not in a git repository"), worktree("HEAD"):
        pass


def test_no_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    with pytest.raises(InputError, match="git is not on the PATH"), worktree("HEAD"):
        pass


def test_caches_are_a_commits_own_and_the_latest_few_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for number in range(KEPT_CACHES + 2):
        found = caches(f"{number:040x}"[::-1])
        os.utime(Path(found["DRBENCH_KERNELS_DIR"]).parent, (number, number))
    again = caches(f"{KEPT_CACHES + 1:040x}"[::-1])
    assert again == found
    assert set(again) == set(CACHES)
    assert len({Path(path).parent for path in again.values()}) == 1
    left = sorted(folder.name[0] for folder in (tmp_path / "drbench" / "commits").iterdir())
    assert len(left) == KEPT_CACHES
    assert "0" not in left
