"""`drbench noise`: how small a difference this machine can tell, and in what time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from drbench import interrupts
from drbench.cli import options as o
from drbench.cli.output import say
from drbench.errors import FAILED, InterruptedRunError
from drbench.text import CELL, printable

if TYPE_CHECKING:
    from drbench.noise import Floor


def noise(
    suite: Annotated[str, typer.Argument(help="Whose plain networks: a shipped suite, or a TOML file.")] = "smoke",
    max_time: Annotated[float, typer.Option("--max-time", help="Seconds that it may take.")] = 120.0,
    only: Annotated[list[str] | None, typer.Option("--only", help="Glob over architecture/variant.")] = None,
    batch_sizes: o.BatchSizes = None,
    threads: o.Threads = None,
    device: o.Device = None,
    precision: o.Precision = None,
    db: o.Db = None,
) -> None:
    """Time networks beside their own copies: what they differ by is no effect of anything. Kept as a run."""
    from drbench_db import Store

    from drbench.cli.progress import Progress
    from drbench.noise import measure
    from drbench.suite import read_suite

    o.seconds("--max-time", max_time)
    given = {"only": only, "batch_sizes": batch_sizes, "threads": threads, "device": device, "precision": precision}
    found = read_suite(suite, o.as_overrides(given))
    with Progress() as shown, Store.open(db, write=True) as store:
        command = o.command_line()
        outcome, floors = measure(found, store, max_time=max_time, files=o.files(db), command=command, on_event=shown)
    for line in table(floors):
        say(line)
    say(f"run {outcome.run_id} {outcome.status}")
    if outcome.status == "interrupted":
        raise InterruptedRunError(f"{interrupts.words()}: run {outcome.run_id} holds what was measured")
    if outcome.failed:
        say("drbench: error: not all networks could be timed", err=True)
        raise typer.Exit(FAILED)


def table(floors: tuple[Floor, ...]) -> list[str]:
    """A line for each network and batch size, under a heading."""
    from drbench.noise import MINUTES

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
