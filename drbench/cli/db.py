"""`drbench db`: manage the database."""

from __future__ import annotations

import typer

from drbench.cli import options as o
from drbench.cli.output import say

app = typer.Typer(no_args_is_help=True, help="Manage the database.")


@app.callback()
def _db() -> None:
    pass


@app.command("upgrade")
def upgrade(db: o.Db = None) -> None:
    """Upgrade the schema of a database. Files are backed up first; commands that write upgrade them too."""
    from drbench_db import Store

    with Store.open(db, write=True, upgrade=True) as store:
        copy = f"; backup: {store.backup}" if store.backup else ""
        say(f"{store.name} has the current schema{copy}")
