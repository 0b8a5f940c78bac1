"""`drbench runs`: list and remove runs."""

from __future__ import annotations

from typing import Annotated

import typer

from drbench.cli import options as o
from drbench.cli.damaged import reading
from drbench.cli.output import say, screen, write

app = typer.Typer(no_args_is_help=True, help="List and remove runs.")


@app.command("list")
def list_(
    suite: Annotated[str | None, typer.Option("--suite", help="Only runs of this suite.")] = None,
    as_json: o.Json = False,
    db: o.Db = None,
) -> None:
    """List all runs, the newest first."""
    from drbench.report import runs_table
    from drbench.run.files import files_beside
    from drbench.run.lock import is_left

    width, color = screen()
    files, form = files_beside(db), "json" if as_json else "terminal"
    with reading(db) as store:
        table = runs_table(
            store, suite=suite, format=form, width=width, color=color, left=lambda run: is_left(files / run.id)
        )
        write(table)


@app.command("rm")
def remove(run: Annotated[str, typer.Argument(help="Run: its id, or the start of its id.")], db: o.Db = None) -> None:
    """Remove a run and its records from the database. Its files are kept."""
    from drbench_db import Store

    with Store.open(db, write=True, create=False) as store:
        say(f"removed {store.remove_run(run)}")
