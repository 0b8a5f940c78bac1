"""Output of lines and texts to stdout, stderr or a file. No other module of `cli` prints."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

from drbench import passwords, paths, streams
from drbench.errors import FailedError, InputError
from drbench.text import CELL, printable

MASKED = 20_000
"""Characters of a message that are searched for passwords; fewer are shown."""


def screen() -> tuple[int | None, bool]:
    """Width of the terminal and whether it shows colours; (None, False) if stdout is not a terminal."""
    if not sys.stdout.isatty():
        return None, False
    return shutil.get_terminal_size().columns, "NO_COLOR" not in os.environ


def say(text: object, *, err: bool = False) -> None:
    """One printable line on stdout, or on stderr."""
    print(printable(text), file=sys.stderr if err else sys.stdout, flush=True)


def write(text: str, path: Path | None = None, *, commands: bool = False) -> None:
    """Write text to stdout or to a file. InputError if the file cannot be written, FailedError on a full disk.

    `commands`: the lines are commands for a CI runner and must not be escaped.
    """
    if path is None:
        if commands and isinstance(sys.stdout, streams.Stream):
            sys.stdout.write_commands(text)
        else:
            sys.stdout.write(text)
        sys.stdout.flush()
        return
    path = target(path)
    try:
        path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise InputError(f"-o: got {str(path)!r}; expected a file that can be written: {error.strerror}") from error
    except OSError as error:
        raise FailedError(f"-o {str(path)!r}: writing failed: {error.strerror}") from error


def target(path: Path) -> Path:
    """The path of a file that can be written, with `~` expanded.

    InputError if it names no file, and for a FIFO without a reader: opening it would wait forever.
    """
    path = paths.expanded(path, "-o")
    found = paths.status(path, "-o")
    if found is not None and stat.S_ISFIFO(found.st_mode):
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            raise InputError(f"-o: got {paths.shown(path)}, a FIFO without a reader; expected a file") from error
    return path


def complain(message: str, code: int) -> int:
    """Print one line on stderr; return the exit code."""
    text = hidden(message)
    masked = passwords.without_password(text[:MASKED]) + text[MASKED:]
    words = (printable(word, CELL) for word in masked.split())  # a long name must not push the hint out of the line
    say(f"drbench: error: {' '.join(words)}", err=True)
    return code


def hidden(text: str) -> str:
    """`text` without the passwords of this command line."""
    return passwords.hidden(text, passwords.in_command(sys.argv[1:], [os.environ.get("DRBENCH_DB", "")]))
