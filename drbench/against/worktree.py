"""A commit of the repository around the current directory, checked out beside it for as long as it is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drbench import bounds, interrupts
from drbench.errors import FailedError, InputError

CACHES = {"DRBENCH_KERNELS_DIR": "kernels", "TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "inductor"}
"""What is compiled at a commit is kept apart from the working tree's."""
KEPT_CACHES = 8
REQUIREMENTS = ("pyproject.toml", "setup.py", "setup.cfg", "requirements*.txt", "environment*.yml", "uv.lock")


@dataclass(frozen=True)
class Worktree:
    """`path` holds `commit` of `repository`; `directory` is in it what the current directory is in the repository."""

    repository: Path
    path: Path
    commit: str
    directory: Path

    def requirements_changed(self) -> list[str]:
        """The files that say what to install and differ between the commit and the working tree."""
        changed = _git(self.repository, "diff", "--name-only", self.commit, "--", *REQUIREMENTS)
        return changed.splitlines()


@contextmanager
def worktree(ref: str) -> Iterator[Worktree]:
    """`ref` checked out into a temporary folder, which is gone afterwards, also after Ctrl-C.

    InputError where there is no repository or no such commit.
    """
    if not ref or len(ref) > bounds.NAME or not ref.isprintable():
        raise InputError(f"--against {ref!r:.60}: expected a commit, branch or tag of at most {bounds.NAME} characters")
    here = Path.cwd()
    if shutil.which("git") is None:
        raise InputError("--against needs git on the PATH")
    top = _git(here, "rev-parse", "--show-toplevel", failing=f"--against {ref}: {here} is in no git repository")
    repository = Path(top).resolve()
    commit = _git(
        here,
        *("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"),
        failing=f"--against {ref!r}: no such commit, branch or tag in {repository} (in a shallow clone: git fetch it)",
    )
    with tempfile.TemporaryDirectory(prefix="drbench-", ignore_cleanup_errors=True) as folder:
        path = Path(folder).resolve() / repository.name
        try:
            _git(here, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach", "--quiet", str(path), commit)
            inside = path / here.resolve().relative_to(repository)
            yield Worktree(repository, path, commit, inside if inside.is_dir() else path)
        finally:
            with interrupts.shielded:
                shutil.rmtree(path, ignore_errors=True)
                _git(here, "worktree", "prune")


def caches(commit: str) -> dict[str, str]:
    """Environment of the side at a commit: where it keeps what it compiles. The caches of the latest few stay."""
    cached = os.environ.get("XDG_CACHE_HOME")
    root = (Path(cached) if cached else Path.home() / ".cache") / "drbench" / "commits"
    mine = root / commit[:16]
    mine.mkdir(parents=True, exist_ok=True)
    os.utime(mine)
    for old in sorted(root.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)[KEPT_CACHES:]:
        shutil.rmtree(old, ignore_errors=True)
    return {variable: str(mine / name) for variable, name in CACHES.items()}


def _git(where: Path, *arguments: str, failing: str = "") -> str:
    """What git says. With `failing`, an InputError with that text where it fails; else a FailedError in git's words."""
    done = subprocess.run(["git", *arguments], cwd=where, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return done.stdout.strip()
    if failing:
        raise InputError(failing)
    words = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
    raise FailedError(f"git {arguments[-1] if len(arguments) < 3 else arguments[0]} failed: {words}")
