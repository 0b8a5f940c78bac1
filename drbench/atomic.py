"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Put `content` in place of `path`: whatever happens, the former file or the new one is there, and whole.

    The content goes to a file in the same directory first, and to the disk, before that file takes the name. The new
    file has the permissions of the former one. A symbolic link stays, and its target is written.

    Raises:
        OSError: it cannot be written. Nothing is left behind, then or after an interrupt.
    """
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".{target.name[:200]}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            shutil.copymode(target, partial)
        partial.replace(target)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
