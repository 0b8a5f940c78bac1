"""`drbench import`: results that lie elsewhere, into the database."""

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
            help="Databases of drbench (paths or URLs), or JSON files of `python -m drbench_kernels.bench`.",
        ),
    ],
    db: o.Db = None,
) -> None:
    """Take the runs of other databases and machines into this one; what is here is not taken twice."""
    from drbench_db import Store

    from drbench.exchange import take

    with Store.open(db, write=True) as store:
        for file in files:
            for found in take(file, store):
                say(line(found.run_id, found.status, found.added, found.known))
        say(f"see them with: drbench report{o.db_option(db)}")


def line(run: str, status: str, added: int, known: int) -> str:
    """What became of a run that was imported or exported."""
    if added == 0 and known:
        return f"run {run} {status}: all {known} records are there already"
    return f"run {run} {status}: {added} records added{f', {known} there already' if known else ''}"
