"""Runs into a database from files of any kind, and out of one: `drbench import` and `drbench export`. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from drbench import paths
from drbench.errors import InputError, NothingError
from drbench.run.opbench.files import import_file, read_file

if TYPE_CHECKING:
    from drbench_db import Store
    from drbench_db.exchange import Merged

_SQLITE = b"SQLite format 3\0"
SHOWN = 10
"""Runs that were refused and are named."""


def check(source: str) -> None:
    """Raise what `take` raises about a source that cannot be read, or has no runs, without a store to take it in."""
    from drbench_db import Store

    if is_file(source):
        read_file(paths.expanded(source, "import"))
        return
    with Store.open(source) as other:
        _ids(other)


def take(source: str, store: Store) -> Iterator[Merged]:
    """Take all runs of a source in, one commit a run, the oldest first: what the store has is not taken twice.

    `source` is a database of drbench (path or URL), or a JSON file of the operator benchmark.

    InputError: nothing of these, or a run that differs from the one of its id in the store; it stays as it is.
    DamagedError: a run that is damaged; nothing of it is taken.
    """
    from drbench_db import Store
    from drbench_db.exchange import Merged

    if is_file(source):
        found = import_file(paths.expanded(source, "import"), store)
        added, known = (0, found.records) if found.known else (found.records, 0)
        yield Merged(found.run.id, found.run.status, added, known)
        return
    with Store.open(source) as other:
        yield from merge(other, _ids(other), store, strict=True)


def _ids(source: Store) -> list[str]:
    """The ids of all runs, the oldest first. NothingError if there are none."""
    runs = source.runs()
    if not runs and not source.damages:
        raise NothingError(f"database {source.name} holds no runs")
    return [run.id for run in reversed(runs)]


def give(store: Store, wanted: Sequence[str], target: str) -> Iterator[Merged]:
    """Runs of a store into another database, made if need be; `wanted` as `Store.run` takes them, none for all.

    Damaged records are left out (see `Store.damages`).
    """
    from drbench_db import Store

    runs = [store.run(one) for one in wanted] or list(reversed(store.runs()))
    if not runs:
        raise NothingError(f"database {store.name} holds no runs to export")
    with Store.open(target, write=True) as other:
        yield from merge(store, list(dict.fromkeys(run.id for run in runs)), other, strict=False)


def merge(source: Store, run_ids: Sequence[str], target: Store, *, strict: bool) -> Iterator[Merged]:
    """All of the runs that can be; then InputError about those that differ from what the target has of them, or
    DamagedError about those that are damaged. `strict`: one with a damaged record is.
    """
    from drbench_db.validate import DamagedError

    refused: list[str] = []
    damaged = source.damages.runs("") if strict else []
    count = len(run_ids) + len(damaged)
    for run_id in run_ids:
        try:
            yield target.merge(run_id, source, strict=strict)
        except InputError as error:
            refused.append(str(error))
        except DamagedError as error:
            damaged.append(str(error))
    if refused or damaged:
        kind = InputError if refused else DamagedError
        said = "; ".join([*refused, *damaged][:SHOWN])
        raise kind(f"of {source.name}, {len(refused) + len(damaged)} of {count} runs were refused: {said}")


def is_file(source: str) -> bool:
    """Whether a source is a file that is no database."""
    return "://" not in source and not is_database(source)


def is_database(source: str | Path) -> bool:
    """Whether a file begins as SQLite's do. InputError where it cannot be read, or is no regular file."""
    path = paths.regular(source, "import")
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError as error:
        raise InputError(f"import: got {paths.shown(path)}: {error.strerror or error}; expected a file") from error
