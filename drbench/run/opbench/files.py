"""The JSON file of `python -m drbench_kernels.bench` -> a run in the database. Loads no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drbench_db import incoming
from drbench_db.shapes import decoded

from drbench import paths
from drbench.errors import InputError
from drbench.records import OPS, Code, Machine, Record, Run
from drbench.run.opbench.convert import records
from drbench.suite import toml

if TYPE_CHECKING:
    from drbench_db import Store

FORMAT, VERSION = "drbench-ops", 1
"""As in drbench_kernels.bench.document, which this cannot ask without loading torch."""


@dataclass(frozen=True)
class Imported:
    """The run, how many records it has, and whether it was in the database before."""

    run: Run
    records: int
    known: bool


def import_file(path: Path, store: Store) -> Imported:
    """Keep the results of a file as a run; one that is there already is left as it is.

    InputError: no such file, not one of this benchmark, of a newer version, or not whole.
    """
    try:
        content = paths.regular(path, "import").read_bytes()
    except OSError as error:
        raise InputError(f"import: got {paths.shown(path)}: {error.strerror or error}; expected a file") from error
    document = _document(path, content)
    try:
        run, found = _run(document, content), _records(document)
        incoming.check(run, found)
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    try:
        store.begin_run(run, found)
    except InputError:
        if run.id not in {one.id for one in store.runs()}:
            raise
        return Imported(run, len(found), known=True)
    return Imported(run, len(found), known=False)


def suite_text(settings: Mapping[str, Any]) -> str:
    """What stands where the suite of other runs does: the settings, as TOML."""
    return toml.dumps({OPS: settings})


def _document(path: Path, content: bytes) -> dict[str, Any]:
    try:
        found = decoded(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no JSON, and no database of drbench: {error}") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON, and no database of drbench: expected {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError(f"{path} is not a file of `python -m drbench_kernels.bench` (its format is not {FORMAT!r})")
    if found.get("version") != VERSION:
        raise InputError(f"{path} has version {found.get('version')!r} of its format, this drbench reads {VERSION}")
    if not found.get("results"):
        raise InputError(f"{path} holds no results")
    return found


def _run(document: Mapping[str, Any], content: bytes) -> Run:
    settings, sessions = document["settings"], document["sessions"]
    first, last = sessions[0], sessions[-1]
    started = str(first["started"])
    cases = len(settings["shapes"]) * len(settings["batch_sizes"]) * len(settings["passes"])
    failed = any("failed" in way for row in document["results"] for way in row["ways"].values())
    status = "interrupted" if len(document["results"]) < cases else "failed" if failed else "done"
    compact = started.replace("-", "").replace(":", "")
    return Run(
        id=f"{compact[:8]}-{compact[9:13]}-{OPS}-{hashlib.sha256(content).hexdigest()[:8]}",
        suite=OPS,
        suite_text=suite_text(settings),
        command=str(first["command"]),
        started=started,
        machine=_machine(last["machine"], settings["threads"]),
        code=Code(drbench=str(last["code"]["drbench"])),
        finished=str(last["finished"]),
        status=status,
    )


def _machine(facts: Mapping[str, Any], threads: int) -> Machine:
    """`cores` are those that the process could use: the file does not know physical ones."""
    words = {name: str(facts[name]) for name in ("hostname", "os", "cpu", "gpu", "python", "torch", "cpu_capability")}
    return Machine(
        **words,
        cores=int(facts["cpus"]),
        threads=int(threads),
        memory_bytes=int(facts["memory_bytes"]),
        gpu_memory_bytes=int(facts["gpu_memory_bytes"]),
        driver=str(facts["cuda"]) if facts["gpu"] else "",
    )


def _records(document: Mapping[str, Any]) -> list[Record]:
    shapes: dict[str, list[Any]] = {}
    for row in document["results"]:
        shapes.setdefault(row["shape"]["name"], []).append(row)
    return [record for rows in shapes.values() for record in records(document["settings"], document["sessions"], rows)]
