"""`drbench init`: files that a repository needs to be checked by drbench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drbench.cli.output import say

app = typer.Typer(no_args_is_help=True, help="Make a repository's own files for drbench.")


@app.callback()
def _init() -> None:
    pass


@app.command("ci")
def ci(
    suite: Annotated[
        str | None, typer.Option("--suite", help="A shipped suite to copy, or a TOML file of your own (a small one).")
    ] = None,
    directory: Annotated[Path, typer.Option("--dir", help="The top of the repository.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
) -> None:
    """Write a suite, a baseline of its costs, and a GitHub workflow that checks every pull request against it."""
    from drbench.ci import files
    from drbench.cli.progress import Progress

    with Progress() as shown:
        made = files.write(directory, suite, force=force, on_event=shown)
    for path in made:
        say(f"wrote {directory / path}")
    say("next: commit these; a pull request that makes a network costlier will fail, with the layer named")
    say("where that is intended: run `drbench check` on the suite here, then")
    say("drbench baseline accept --only VARIANT --metric costs --reason WHY")
