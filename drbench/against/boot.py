"""The first thing that the Python of one side runs, by its path: says where that side's code lies, then serves.

    python boot.py '{"socket": 5, "parent": 77, "repository": "/home/me/repo", "worktree": "/tmp/drbench-x/repo"}'

Whatever this Python would import from the repository comes from the worktree instead: entries of sys.path, and packages
that were installed in place (`pip install -e`). It is the caller's file, so that it knows every older commit's way.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def moved(path: str, repository: str, worktree: str) -> str:
    """The same place in the worktree, for a path inside the repository."""
    real = os.path.realpath(path or ".")
    inside = real == repository or real.startswith(repository + os.sep)
    return worktree + real[len(repository) :] if inside else path


def move(repository: str, worktree: str) -> None:
    """Let imports from the repository find the worktree's files, unless an environment inside it is meant."""

    def there(path: str) -> str:
        return path if "site-packages" in path else moved(path, repository, worktree)

    sys.path[:] = [there(path) for path in sys.path]
    for name, module in list(sys.modules.items()):  # what setuptools' editable installs put there
        if name.startswith("__editable__") and hasattr(module, "MAPPING"):
            module.MAPPING.update({package: there(path) for package, path in module.MAPPING.items()})
    for name in [name for name in sys.modules if name.partition(".")[0].startswith("drbench")]:
        del sys.modules[name]


def follow(parent: int) -> None:
    """Have the system (Linux) kill this process with its parent, and what is forked from it with this process.

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
    """Serve on the socket that was handed on, until its other end is closed."""
    about = json.loads(sys.argv[1])
    follow(about["parent"])
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    if about.get("worktree"):
        move(about["repository"], about["worktree"])
    sys.path.insert(0, os.getcwd())
    try:
        import drbench

        if not os.path.exists(os.path.join(drbench.__path__[0], "against", "side.py")):
            raise ImportError(name="drbench.against")  # and no other installed drbench is to stand in for it
        from drbench.against import side
    except ImportError as error:
        os.write(about["socket"], f"no {error.name}\n".encode())
        return
    side.serve(about["socket"])


if __name__ == "__main__":
    main()
