"""`drbench show`: one run: its suite, machine, code, and what became of every variant."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from drbench.cli import options as o


def show(
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or 'latest'.")] = "latest",
    as_json: o.Json = False,
    db: o.Db = None,
) -> None:
    """Show a run: suite, machine, code, records."""
    from drbench_db import Store

    from drbench.cli import tables
    from drbench.cli.progress import outcome

    with Store.open(db) as store:
        found = store.run(run)
        records = store.records(found.id, samples=as_json)
    if as_json:
        rows = [{**asdict(record), "ranks": record.ranks.hex()} for record in records]
        print(json.dumps({**asdict(found), "records": rows}, indent=2))
        return
    facts = {"run": found.id, "status": found.status, "command": found.command}
    facts |= {"started": found.started, "finished": found.finished or "-"}
    facts |= {key: value for key, value in (asdict(found.machine) | asdict(found.code)).items() if value != ""}
    tables.show(tables.table("", ("", ""), list(facts.items()), 2))
    print(found.suite_text)
    for record in records:
        print(outcome(record))
        for note in record.notes:
            print(f"  {note}")
        for name, path in record.files.items():
            print(f"  {name}: {path}")
