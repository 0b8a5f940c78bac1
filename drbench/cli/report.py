"""`drbench report`: the comparison as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drbench.cli import options as o
from drbench.cli.damaged import reading
from drbench.cli.output import screen, write

SUFFIXES = {".md": "md", ".csv": "csv", ".json": "json"}


def report(
    format_: Annotated[str | None, typer.Option("--format", help="terminal, md, csv or json.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Into a file; its suffix says the format.")
    ] = None,
    sort: Annotated[str | None, typer.Option("--sort", help="Column to sort by; -madds for the largest first.")] = None,
    columns: Annotated[list[str] | None, typer.Option("--columns", help="Columns to show, in order.")] = None,
    suite: Annotated[str | None, typer.Option("--suite", help="Only runs of this suite.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Only this run: id, its beginning, or 'latest'.")] = None,
    latest: Annotated[bool, typer.Option("--latest", help="Only the newest run.")] = False,
    db: o.Db = None,
) -> None:
    """Report what is in the database: costs, latency, accuracy, differences to the plain network, published rows."""
    from drbench.errors import unknown
    from drbench.overrides import choices
    from drbench.report import FORMATS, render

    chosen = format_ or SUFFIXES.get(output.suffix if output else "", "terminal")
    if chosen not in FORMATS:
        raise unknown("format", chosen, FORMATS)
    width, color = screen() if output is None else (None, False)
    with reading(db) as store:
        text = render(
            store,
            format=chosen,
            columns=choices(columns) if columns else None,
            sort=sort,
            suite=suite,
            run=run,
            latest=latest,
            width=width,
            color=color,
        )
        write(text, output)
