"""`drbench init`: write the files that a repository needs for checks by drbench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drbench.cli.output import say

app = typer.Typer(no_args_is_help=True, help="Set up a repository for drbench.")


@app.callback()
def _init() -> None:
    pass


@app.command("ci")
def ci(
    suite: Annotated[
        str | None,
        typer.Option("--suite", help="Suite to check: a shipped one, or your own TOML file. Choose a small one."),
    ] = None,
    directory: Annotated[Path, typer.Option("--dir", help="Top directory of the repository.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Write a suite, a baseline of its costs, and a GitHub workflow that checks each pull request against it."""
    from drbench.ci import files
    from drbench.cli.progress import Progress

    with Progress() as shown:
        made = files.write(directory, suite, force=force, on_event=shown)
    for path in made:
        say(f"wrote {directory / path}")
    say("next: commit these files. A pull request that makes a network more costly then fails and names the layer.")
    say("If a higher cost is intended, run `drbench check` on the suite here, then:")
    say("drbench baseline accept --only VARIANT --metric costs --reason WHY")
