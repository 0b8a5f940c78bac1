"""`drbench noise`: measure how small a difference this machine can resolve, and in what time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from drbench import interrupts
from drbench.cli import options as o
from drbench.cli.output import say
from drbench.errors import FAILED, InterruptedRunError
from drbench.text import CELL, printable

if TYPE_CHECKING:
    from drbench.run.noise import Floor


@o.overriding("only", "batch_sizes", "threads", "device", "precision")
def noise(
    given: dict[str, Any],
    suite: Annotated[
        str, typer.Argument(help="Suite whose plain networks are timed: a name or a TOML file.")
    ] = "smoke",
    max_time: Annotated[float, typer.Option("--max-time", help="Maximum seconds to measure.")] = 120.0,
    db: o.Db = None,
) -> None:
    """Time networks against copies of themselves: the difference is the noise of this machine. Recorded as a run."""
    from drbench_db import Store

    from drbench.cli.progress import Progress
    from drbench.run.files import files_beside
    from drbench.run.noise import measure
    from drbench.suite.read import read_suite

    o.seconds("--max-time", max_time)
    found = read_suite(suite, o.as_overrides(given))
    with Progress() as shown, Store.open(db, write=True) as store:
        command = o.command_line()
        outcome, floors = measure(
            found, store, max_time=max_time, files=files_beside(db), command=command, on_event=shown
        )
    for line in table(floors):
        say(line)
    say(f"run {outcome.run_id} {outcome.status}")
    if outcome.status == "interrupted":
        raise InterruptedRunError(f"{interrupts.words()}: run {outcome.run_id} keeps what was measured")
    if outcome.failed:
        say("drbench: error: not all networks could be timed", err=True)
        raise typer.Exit(FAILED)


def table(floors: tuple[Floor, ...]) -> list[str]:
    """A heading, and a line per network and batch size."""
    from drbench.run.noise import MINUTES

    if not floors:
        return []
    names = [printable(floor.network, CELL) for floor in floors]
    width = max(map(len, names))
    heads = [f"{minutes} min" for minutes in MINUTES]
    head = f"{'':{width}}  {'b':>4}  {'copy over plain, 95%':>24}  {'processes':>9}  resolves in"
    lines = [head + "".join(f"{text:>9}" for text in heads)]
    for name, floor in zip(names, floors, strict=True):
        found = floor.interval
        said = f"{found.estimate:.4f} [{found.low:.4f} {found.high:.4f}]"
        shares = "".join(f"{share:>9.1%}" for share in floor.resolved)
        lines.append(f"{name:{width}}  {floor.batch_size:>4}  {said:>24}  {floor.workers:>9}  {'':11}{shares}")
    return lines
