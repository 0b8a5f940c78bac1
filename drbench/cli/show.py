"""`drbench show`: one run: machine, code, and what became of every variant."""

from __future__ import annotations

from typing import Annotated

import typer

from drbench.cli import options as o
from drbench.cli.damaged import reading
from drbench.cli.output import screen, write


def show(
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or 'latest'.")] = "latest",
    layers: Annotated[bool, typer.Option("--layers", help="With the cost of every layer.")] = False,
    suite: Annotated[bool, typer.Option("--suite", help="Only the suite as it was run, as TOML.")] = False,
    as_json: o.Json = False,
    db: o.Db = None,
) -> None:
    """Show a run: machine, code, figures, curves, what failed and why."""
    with reading(db) as store:
        if suite:
            write(store.run(run).suite_text)
            return
        from drbench.report import show as shown

        width, color = screen()
        write(shown(store, run, format="json" if as_json else "terminal", layers=layers, width=width, color=color))
