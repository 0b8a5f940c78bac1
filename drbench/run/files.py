"""Where the files of runs are: `drbench-files` next to the database, a folder per run in it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from drbench.errors import InputError
from drbench.records import Run
from drbench.text import is_utf8, printable


def files_beside(db: str | os.PathLike[str] | None) -> Path:
    """The directory of all runs' files: next to the database file; for a server, in the current directory."""
    from drbench_db.location import locate

    path = locate(db).path
    return Path(os.path.realpath(path.parent if path else ".")) / "drbench-files"


def run_folder(files: Path, run: Run) -> Path:
    """The folder of a run's files: `files`/RUN.

    Raises:
        InputError: an id that drbench never makes (a foreign database), or a path that is not UTF-8.
    """
    if not re.fullmatch(r"[\w-][\w.-]{0,119}", run.id):
        raise InputError(f"run id: got {run.id!r:.150}; expected letters, digits, -, _ and . only. Nothing was written")
    if not is_utf8(str(files)):  # else the first record with a path in it could not be stored
        raise InputError(f"drbench-files: got '{printable(files)}'; expected a directory whose name is UTF-8. Use --db")
    return files / run.id
