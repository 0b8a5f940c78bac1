"""Paths that a user gave, before anything is opened: each way in which one cannot be used is one clear line.

Opening is where a program hangs (a FIFO without a writer) or ends with an error that names nothing (a NUL, a loop of
links, `~` of an unknown user). Call this before you open a file that a user named.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from drbench.errors import InputError
from drbench.text import quoted

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def expanded(given: str | os.PathLike[str], name: str) -> Path:
    """The path with `~` expanded. InputError for an empty one, one with a NUL, and `~` of an unknown user."""
    text = os.fspath(given)
    if not text:
        raise InputError(f"{name}: got ''; expected a path")
    if "\0" in text:
        raise InputError(f"{name}: got {shown(text)}; expected a path without NUL characters")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        user = text.split("/")[0].removeprefix("~")
        raise InputError(f"{name}: got {shown(text)}; expected a path. There is no user {user!r}") from None


def status(path: Path, name: str) -> os.stat_result | None:
    """What is at a path, links followed; None where nothing is. InputError where that cannot be told.

    (A loop of links, a name that is too long, a path below a file, a directory that may not be entered.)
    """
    try:
        return path.stat()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name}: got {shown(path)}: {why}; expected a path that can be opened") from error


def regular(given: str | os.PathLike[str], name: str) -> Path:
    """The path of an existing regular file, with `~` expanded: opening it cannot hang.

    InputError where there is nothing, or a directory, FIFO, socket or device.
    """
    path = expanded(given, name)
    found = status(path, name)
    if found is None:
        raise InputError(f"{name}: got {shown(path)}; expected a file. No such file or directory")
    check_regular(found, path, name)
    return path


def is_directory(path: Path, name: str) -> bool:
    """Whether there is a directory, links followed. InputError where that cannot be told."""
    found = status(path, name)
    return found is not None and stat.S_ISDIR(found.st_mode)


def check_regular(found: os.stat_result, path: Path, name: str) -> None:
    """Raise InputError unless it is a regular file."""
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise InputError(f"{name}: got {shown(path)}, {kind}; expected a file")


def shown(path: str | os.PathLike[str]) -> str:
    """A path in quotes, as a message shows it: control characters escaped, a long one shortened."""
    return quoted(os.fspath(path))
