"""`drbench show`: print one run: machine, code, and the result of each variant."""

from __future__ import annotations

from typing import Annotated

import typer

from drbench.cli import options as o
from drbench.cli.damaged import reading
from drbench.cli.output import screen, write


def show(
    run: Annotated[str, typer.Argument(help="Run: its id, the start of its id, or 'latest'.")] = "latest",
    layers: Annotated[bool, typer.Option("--layers", help="Include the cost of each layer.")] = False,
    suite: Annotated[bool, typer.Option("--suite", help="Print only the suite that was run, as TOML.")] = False,
    as_json: o.Json = False,
    db: o.Db = None,
) -> None:
    """Show a run: machine, code, figures, training curves, and failures with their reasons."""
    with reading(db) as store:
        if suite:
            write(store.run(run).suite_text)
            return
        from drbench.report import show as shown

        width, color = screen()
        write(shown(store, run, format="json" if as_json else "terminal", layers=layers, width=width, color=color))
