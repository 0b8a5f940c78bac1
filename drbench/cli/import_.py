"""`drbench import`: results that were made without drbench's database, into it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drbench.cli import options as o


def import_(
    file: Annotated[Path, typer.Argument(help="A JSON file of `python -m drbench_kernels.bench`.")], db: o.Db = None
) -> None:
    """Take the operator benchmark of another machine into the database, as a run; twice is once."""
    from drbench_db import Store

    from drbench.opbench.files import import_file

    with Store.open(db, write=True) as store:
        found = import_file(file, store)
    if found.known:
        print(f"run {found.run.id} is in the database already")
        return
    print(f"run {found.run.id} {found.run.status}: {found.records} records of {found.run.machine.hostname}")
    print(f"see it with: drbench report --run {found.run.id}{f' --db {db}' if db else ''}")
