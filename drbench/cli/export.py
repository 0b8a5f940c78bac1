"""`drbench export`: copy runs into another database."""

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
        str,
        typer.Option("-o", "--output", help="Database to write to, created if missing: a file, or a PostgreSQL URL."),
    ],
    run: Annotated[
        list[str] | None,
        typer.Option("--run", help="Run to export: its id, the start of its id, or 'latest'; repeatable."),
    ] = None,
    db: o.Db = None,
) -> None:
    """Copy all runs, or those named, into another database. Read it elsewhere with `drbench import`."""
    from drbench.exchange import give

    with reading(db) as store:
        for found in give(store, run or [], output):
            say(line(found.run_id, found.status, found.added, found.known))
        say(f"import it: drbench import {passwords.of_database(output)}")
