"""`drbench report`: print the results as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drbench.cli import options as o
from drbench.cli.damaged import reading
from drbench.cli.output import screen, write

SUFFIXES = {".md": "md", ".csv": "csv", ".json": "json"}


def report(
    format_: Annotated[str | None, typer.Option("--format", help="Format: terminal, md, csv or json.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to this file; its suffix sets the format.")
    ] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", help="Sort by this column; -COLUMN sorts in descending order.")
    ] = None,
    columns: Annotated[list[str] | None, typer.Option("--columns", help="Columns to print, in this order.")] = None,
    suite: Annotated[str | None, typer.Option("--suite", help="Only runs of this suite.")] = None,
    run: Annotated[
        str | None, typer.Option("--run", help="Only this run: its id, the start of its id, or 'latest'.")
    ] = None,
    latest: Annotated[bool, typer.Option("--latest", help="Only the newest run.")] = False,
    db: o.Db = None,
) -> None:
    """Print a table of the results: costs, latency, accuracy, differences from the plain network, published figures."""
    from drbench.errors import unknown
    from drbench.report import FORMATS, render
    from drbench.suite.overrides import choices

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
