"""`drbench db`: the database itself."""

from __future__ import annotations

import typer

from drbench.cli import options as o
from drbench.cli.output import say

app = typer.Typer(no_args_is_help=True, help="Look after the database.")


@app.callback()
def _db() -> None:
    pass


@app.command("upgrade")
def upgrade(db: o.Db = None) -> None:
    """Bring a database up to this drbench: a file after a backup (writing verbs do so too), a server's only here."""
    from drbench_db import Store

    with Store.open(db, write=True, upgrade=True) as store:
        copy = f"; the copy from before is {store.backup}" if store.backup else ""
        say(f"{store.name} has this drbench's schema{copy}")
