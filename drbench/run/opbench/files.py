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
"""As in drbench_kernels.bench.document, which cannot be imported without loading torch."""


@dataclass(frozen=True)
class Imported:
    """The imported run, its number of records, and whether the database had it before (`known`)."""

    run: Run
    records: int
    known: bool


def import_file(path: Path, store: Store) -> Imported:
    """Store the results of a file as a run. A run that the database already has is not changed.

    Raises:
        InputError: as `read_file`.
    """
    run, imported = read_file(path)
    try:
        store.begin_run(run, imported)
    except InputError:
        if run.id not in {known.id for known in store.runs()}:
            raise
        return Imported(run, len(imported), known=True)
    return Imported(run, len(imported), known=False)


def read_file(path: Path) -> tuple[Run, list[Record]]:
    """The results of a file as a run and its records.

    Raises:
        InputError: no such file, a file of another format or version, or a damaged file.
    """
    try:
        content = paths.regular(path, "import").read_bytes()
    except OSError as error:
        raise InputError(f"import: got {paths.shown(path)}: {error.strerror or error}; expected a file") from error
    document = _document(path, content)
    try:
        run, imported = _run(document, content), _records(document)
        incoming.check(run, imported)
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    return run, imported


def suite_text(settings: Mapping[str, Any]) -> str:
    """The settings as TOML, stored in place of the suite text of other runs."""
    return toml.dumps({OPS: settings})


def _document(path: Path, content: bytes) -> dict[str, Any]:
    try:
        document = decoded(content.decode("utf-8"))
    except ValueError as error:  # UnicodeDecodeError is one too
        expected = "JSON" if isinstance(error, UnicodeDecodeError) else error
        raise InputError(
            f"{path} is neither JSON nor a drbench database; expected a database, or the {expected} that `python -m "
            "drbench_kernels.bench` wrote"
        ) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{path} is not a file of `python -m drbench_kernels.bench` (its format is not {FORMAT!r})")
    version = document.get("version")
    if version != VERSION:
        raise InputError(f"{path}: got version {version!r} of the format {FORMAT!r}; expected {VERSION}")
    if not document.get("results"):
        raise InputError(f"{path} has no results")
    return document


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
    """`cores` is the number of processors that the process could use; the file has no number of physical cores."""
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
