"""The entry point of the Python process of one side, run by its path: sets where that side's code is, then serves.

    python boot.py '{"socket": 5, "parent": 77, "repository": "/home/me/repo", "worktree": "/tmp/drbench-x/repo"}'

Imports from the repository are redirected to the worktree: entries of sys.path, and packages that were installed in
place (`pip install -e`). This file is always that of the caller, so it must work with drbench at every older commit.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def moved(path: str, repository: str, worktree: str) -> str:
    """The same path in the worktree for a path inside the repository; other paths are unchanged."""
    real = os.path.realpath(path or ".")
    inside = real == repository or real.startswith(repository + os.sep)
    return worktree + real[len(repository) :] if inside else path


def move(repository: str, worktree: str) -> None:
    """Redirect imports from the repository to the worktree, except those from an environment inside the repository."""

    def there(path: str) -> str:
        return path if "site-packages" in path else moved(path, repository, worktree)

    sys.path[:] = [there(path) for path in sys.path]
    for name, module in list(sys.modules.items()):  # modules of setuptools' editable installs
        if name.startswith("__editable__") and hasattr(module, "MAPPING"):
            module.MAPPING.update({package: there(path) for package, path in module.MAPPING.items()})
    for name in [name for name in sys.modules if name.partition(".")[0].startswith("drbench")]:
        del sys.modules[name]


def follow(parent: int) -> None:
    """On Linux, let the system kill this process when its parent ends, and its forks when this process ends.

    A process that builds a network, or compiles for it, would notice the end of its socket much later.
    """
    if sys.platform != "linux":
        return
    system = ctypes.CDLL(None)

    def note() -> None:
        nonlocal parent
        parent = os.getpid()

    def tie() -> None:
        system.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    tie()
    os.register_at_fork(before=note, after_in_child=tie)


def main() -> None:
    """Serve on the inherited socket until its other end is closed."""
    settings = json.loads(sys.argv[1])
    follow(settings["parent"])
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    if settings.get("worktree"):
        move(settings["repository"], settings["worktree"])
    sys.path.insert(0, os.getcwd())
    try:
        import drbench

        if not os.path.exists(os.path.join(drbench.__path__[0], "against", "side.py")):
            raise ImportError(name="drbench.against")  # do not fall back on another installed drbench
        from drbench.against import side
    except ImportError as error:
        os.write(settings["socket"], f"no {error.name}\n".encode())
        return
    side.serve(settings["socket"])


if __name__ == "__main__":
    main()
