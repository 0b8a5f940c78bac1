"""`drbench suites`: list the shipped suites, show one, validate a file."""

from __future__ import annotations

from typing import Annotated

import typer

from drbench.cli.output import complain, say, write
from drbench.errors import USAGE

app = typer.Typer(no_args_is_help=True, help="List, show and validate suites.")

Name = Annotated[str, typer.Argument(help="A shipped suite, or the path of a TOML file.")]


@app.command("list")
def list_() -> None:
    """List the suites that come with drbench."""
    from drbench.cli.tables import show, table
    from drbench.suite.read import read_suite, shipped

    suites = [read_suite(name) for name in shipped()]
    show(table("", ("suite", "description"), [(suite.name, suite.description) for suite in suites], 2))


@app.command("show")
def show_(name: Name) -> None:
    """Print the file of a suite and the variants that it defines."""
    from drbench.suite.plan import variants
    from drbench.suite.read import read_suite, read_text

    suite = read_suite(name)
    write(f"{read_text(name).rstrip()}\n\n# variants, as architecture/label\n")
    for architecture, rows in variants(suite).items():
        for _, label in rows:
            say(f"# {architecture}/{label}")


@app.command("validate")
def validate(name: Name) -> None:
    """Validate a suite and the names in it. An invalid suite gives one line for each error, and exit code 2."""
    from drbench.experiment import check
    from drbench.suite.plan import plan
    from drbench.suite.read import errors_of, read_suite

    if wrong := errors_of(name):
        for line in wrong:
            complain(line, USAGE)
        raise typer.Exit(USAGE)
    work = plan(read_suite(name))
    check([one for one in work if one.stage != "train"] or work)
    records = sum(len(one.variants) for one in work)  # as `drbench run` counts them
    say(f"{name}: valid; a run of it makes {records} records")
