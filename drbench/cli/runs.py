"""`drbench runs`: what is in the database, and how to be rid of it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from drbench.cli import options as o

app = typer.Typer(no_args_is_help=True, help="List and remove runs.")


@app.command("list")
def list_(
    suite: Annotated[str | None, typer.Option("--suite", help="Only runs of this suite.")] = None,
    as_json: o.Json = False,
    db: o.Db = None,
) -> None:
    """All runs, the newest first."""
    from drbench_db import Store

    from drbench.cli.tables import show, table

    with Store.open(db) as store:
        runs = store.runs(suite)
    columns = ("id", "suite", "status", "started", "finished")
    if as_json:
        print(json.dumps([{name: getattr(run, name) for name in (*columns, "command")} for run in runs], indent=2))
        return
    rows = [[getattr(run, name) for name in columns] + [run.machine.cpu] for run in runs]
    show(table("", (*columns, "machine"), rows, 6))


@app.command("rm")
def remove(run: Annotated[str, typer.Argument(help="A run's id, or the beginning of one.")], db: o.Db = None) -> None:
    """Remove a run and its records from the database; its files stay."""
    from drbench_db import Store

    with Store.open(db, write=True) as store:
        removed = store.remove_run(run)
    print(f"removed {removed.id}")
