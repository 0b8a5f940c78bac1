"""stdout and stderr while a command runs: the one way to either, so that nothing raw or unencodable reaches them.

Every `print`, table, warning and traceback passes `Stream.write`: control characters and commands to a CI's runner are
shown (`drbench.text.safe`), and characters that the encoding lacks become plain ones. A stream that is full or has lost
its reader takes nothing more, and the command goes on.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

from drbench.text import COLORS, CURSOR, begins_line, encodable, safe


class Stream(io.TextIOBase):
    """A text stream in front of another. `failed`: the first error of writing to it; what comes after that is lost."""

    def __init__(self, behind: TextIO, allowed: re.Pattern[str] = COLORS) -> None:
        self._behind, self._allowed = behind, allowed
        self._start = True
        self.failed: OSError | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream behind; rich chooses the lines of its tables by it."""
        return getattr(self._behind, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write what is safe of a text; returns its length."""
        self._write(safe(text, self._start, self._allowed))
        self._start = begins_line(text, self._start)
        return len(text)

    def write_commands(self, text: str) -> None:
        """Write lines that are meant for a CI's runner: drbench's own annotations."""
        for line in text.splitlines(keepends=True):
            self._write(safe(line, start_of_line=False))
        self._start = True

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        """Each as `write` does."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what is buffered."""
        if self.failed is None:
            try:
                self._behind.flush()
            except OSError as error:
                self._give_up(error)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._behind.isatty()

    def fileno(self) -> int:
        """The descriptor behind it."""
        return self._behind.fileno()

    def writable(self) -> bool:
        """True."""
        return True

    def _write(self, text: str) -> None:
        if self.failed is None:
            try:
                self._behind.write(encodable(text, self.encoding))
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.failed = error
        with suppress(OSError, ValueError):  # Python would write what is buffered once more when it ends
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._behind.fileno())
            os.close(nowhere)


def for_bars(stream: TextIO) -> Stream:
    """The stream for what moves the cursor: progress bars, whose texts are `printable`."""
    return Stream(stream._behind if isinstance(stream, Stream) else stream, CURSOR)


def set_up(allowed: re.Pattern[str] = COLORS) -> tuple[Stream, Stream]:
    """Put a Stream in front of stdout and of stderr. One that is closed is as /dev/null from then on.

    Otherwise the next file that is opened, a database even, would take its descriptor and what is written to it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    made = tuple(
        there if isinstance(there, Stream) else Stream(there or _nowhere(descriptor), allowed)
        for descriptor, there in ((1, cast(TextIO | None, sys.stdout)), (2, cast(TextIO | None, sys.stderr)))
    )
    sys.stdout, sys.stderr = made
    return made[0], made[1]


@contextmanager
def guarded() -> Iterator[tuple[Stream, Stream]]:
    """`set_up` for as long as it lasts."""
    before = sys.stdout, sys.stderr
    made = set_up()
    try:
        yield made
    finally:
        for stream in made:
            stream.flush()
        sys.stdout, sys.stderr = before


def _nowhere(descriptor: int) -> TextIO:
    return open(descriptor, "w", encoding="utf-8", closefd=False)
