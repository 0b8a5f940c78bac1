"""The JSON file of a benchmark: written whole after every case, by an atomic rename; read again to go on.

Its shape is described in `drbench_kernels.bench`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FORMAT, VERSION = "drbench-ops", 1


class BenchError(ValueError):
    """What the command line was asked for cannot be done: one line, exit code 2."""


def new(settings: dict[str, Any]) -> dict[str, Any]:
    """A document without sessions and results."""
    return {"format": FORMAT, "version": VERSION, "settings": settings, "sessions": [], "results": []}


def read(path: Path) -> dict[str, Any]:
    """The document in a file. BenchError where it is none, or one of a newer version."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise BenchError(f"{path}: got a file that is not JSON ({error}); expected a file of this benchmark") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise BenchError(f"{path} is not a file of drbench_kernels.bench (its format is not {FORMAT!r})")
    if found.get("version") != VERSION:
        raise BenchError(f"{path} has version {found.get('version')}, this drbench_kernels reads {VERSION}")
    return found


def resumed(path: Path, settings: dict[str, Any], machine: dict[str, Any]) -> dict[str, Any]:
    """The document in a file, to go on with. BenchError where its settings or its machine are others."""
    found = read(path)
    if not all(key in found for key in new({})):
        raise BenchError(f"{path} is damaged: it has no {', '.join(sorted(set(new({})) - set(found)))}")
    for what, then, now in (
        ("settings", found["settings"], settings),
        ("machine", found["sessions"][0]["machine"] if found["sessions"] else machine, machine),
    ):
        for key in sorted(set(then) | set(now)):
            if then.get(key) != now.get(key):
                raise BenchError(
                    f"{path} has {what} {key} {then.get(key)!r}, now it is {now.get(key)!r}: "
                    f"give the same to go on with it, or another file"
                )
    return found


def write(path: Path, document: dict[str, Any]) -> None:
    """Replace the file, whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise BenchError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def key(row: dict[str, Any]) -> tuple[str, int, str]:
    """What one result is of: shape, batch, pass."""
    return row["shape"]["name"], row["batch"], row["pass"]
