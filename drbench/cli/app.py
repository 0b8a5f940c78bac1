"""All commands in one application."""

from __future__ import annotations

from typing import Annotated

import typer

from drbench import __version__
from drbench.cli import (
    baseline,
    check,
    compare,
    db,
    env,
    export,
    import_,
    init,
    kernels,
    models,
    noise,
    report,
    run,
    runs,
    show,
    suites,
)
from drbench.cli.output import say

app = typer.Typer(
    help="Benchmark and leaderboard for neural architectures, built around Dynamic Region-Aware Convolution.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        say(__version__)
        raise typer.Exit


@app.callback()
def _drbench(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.add_typer(run.app, name="run")
app.command("report")(report.report)
app.command("check")(check.check)
app.command("compare")(compare.compare)
app.add_typer(baseline.app, name="baseline")
app.command("export")(export.export)
app.command("noise")(noise.noise)
app.command("import")(import_.import_)
app.add_typer(runs.app, name="runs")
app.command("show")(show.show)
app.command("env")(env.env)
app.add_typer(suites.app, name="suites")
app.add_typer(models.app, name="models")
app.add_typer(kernels.app, name="kernels")
app.add_typer(db.app, name="db")
app.add_typer(init.app, name="init")
