"""A temporary worktree of a commit of the repository around the current directory."""

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
"""Environment variable -> subfolder of a commit's cache, which keeps its compiled files from the working tree's."""
KEPT_CACHES = 8
REQUIREMENTS = ("pyproject.toml", "setup.py", "setup.cfg", "requirements*.txt", "environment*.yml", "uv.lock")


@dataclass(frozen=True)
class Worktree:
    """A worktree at `path` of `commit` in `repository`. `directory`: the current directory, moved into the worktree."""

    repository: Path
    path: Path
    commit: str
    directory: Path

    def requirements_changed(self) -> list[str]:
        """The files with requirements that differ between the commit and the working tree."""
        changed = _git(self.repository, "diff", "--name-only", self.commit, "--", *REQUIREMENTS)
        return changed.splitlines()


@contextmanager
def worktree(ref: str) -> Iterator[Worktree]:
    """Check `ref` out into a temporary folder for the `with` block. The folder is always removed, also after Ctrl-C.

    InputError if there is no repository or no such commit.
    """
    if not ref or len(ref) > bounds.NAME or not ref.isprintable():
        raise InputError(
            f"--against: got {ref!r:.60}; expected a commit, branch or tag of at most {bounds.NAME} characters"
        )
    here = Path.cwd()
    if shutil.which("git") is None:
        raise InputError("--against: git is not on the PATH. Install it")
    top = _git(here, "rev-parse", "--show-toplevel", failing=f"--against {ref}: {here} is not in a git repository")
    repository = Path(top).resolve()
    commit = _git(
        here,
        *("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"),
        failing=f"--against: got {ref!r}; expected a commit, branch or tag in {repository} (shallow clone: fetch it)",
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
    """Environment variables for the side at a commit: its cache folders. The latest KEPT_CACHES commits are kept."""
    cached = os.environ.get("XDG_CACHE_HOME")
    root = (Path(cached) if cached else Path.home() / ".cache") / "drbench" / "commits"
    cache = root / commit[:16]
    cache.mkdir(parents=True, exist_ok=True)
    os.utime(cache)
    for old in sorted(root.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)[KEPT_CACHES:]:
        shutil.rmtree(old, ignore_errors=True)
    return {variable: str(cache / name) for variable, name in CACHES.items()}


def _git(where: Path, *arguments: str, failing: str = "") -> str:
    """The output of git. If git fails: an InputError with the text `failing`, or a FailedError with git's message."""
    done = subprocess.run(["git", *arguments], cwd=where, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return done.stdout.strip()
    if failing:
        raise InputError(failing)
    reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
    raise FailedError(f"git {arguments[-1] if len(arguments) < 3 else arguments[0]} failed: {reason}")
