"""`drbench import`: copy results from elsewhere into the database."""

from __future__ import annotations

from typing import Annotated

import typer

from drbench.cli import options as o
from drbench.cli.output import say


def import_(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="drbench databases (paths or URLs), or JSON files of `python -m drbench_kernels.bench`.",
        ),
    ],
    db: o.Db = None,
) -> None:
    """Copy the runs of other databases into this one. Records that are already here are skipped."""
    from drbench_db import Store

    from drbench.exchange import check, take

    for file in files:  # before a database is created
        check(file)
    with Store.open(db, write=True) as store:
        for file in files:
            for found in take(file, store):
                say(line(found.run_id, found.status, found.added, found.known))
        say(f"see the results: drbench report{o.db_option(db)}")


def line(run: str, status: str, added: int, known: int) -> str:
    """One line on a run that was imported or exported."""
    if added == 0 and known:
        return f"run {run} {status}: all {known} records exist already"
    return f"run {run} {status}: {added} records added{f', {known} exist already' if known else ''}"
