"""`drbench export`: runs into a database file of their own, for another machine."""

from __future__ import annotations

from typing import Annotated

import typer

from drbench import passwords
from drbench.cli import options as o
from drbench.cli.damaged import reading
from drbench.cli.import_ import line
from drbench.cli.output import say


def export(
    output: Annotated[
        str, typer.Option("-o", "--output", help="The database file to make or to add to; or a PostgreSQL URL.")
    ],
    run: Annotated[
        list[str] | None, typer.Option("--run", help="A run's id, its beginning, or 'latest'; may be repeated.")
    ] = None,
    db: o.Db = None,
) -> None:
    """Write runs (all, or those named) into another database, which `drbench import` takes in elsewhere."""
    from drbench.exchange import give

    with reading(db) as store:
        for found in give(store, run or [], output):
            say(line(found.run_id, found.status, found.added, found.known))
        say(f"read it with: drbench import {passwords.of_database(output)}")
