"""`drbench compare`: one run beside another, judged as a check is."""

from __future__ import annotations

from typing import Annotated

import typer

from drbench.cli import options as o
from drbench.cli.check import Allow, Checkpoints, Format, Limit, Metrics, OnUnresolved, Output
from drbench.cli.damaged import reading
from drbench.errors import InputError


def compare(
    before: Annotated[str, typer.Argument(help="The run to hold the other against: an id, or the beginning of one.")],
    now: Annotated[str, typer.Argument(help="The run that is judged.")] = "latest",
    metrics: Metrics = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Glob over architecture/variant.")] = None,
    limit: Limit = None,
    on_unresolved: OnUnresolved = None,
    allow_different: Allow = None,
    checkpoints: Checkpoints = False,
    format: Format = None,
    output: Output = None,
    db: o.Db = None,
) -> None:
    """What changed from one run to another: ratio, interval and verdict of every variant. Exit codes as of a check."""
    from drbench.check import gate, rules
    from drbench.check.facts import METRICS
    from drbench.cli import verdicts
    from drbench.overrides import choices

    shown = verdicts.outputs(format, output or ())
    with reading(db) as store:
        old, new = store.run(before), store.run(now)
        if old.id == new.id:
            raise InputError(f"run {old.id} beside itself says nothing: name another (drbench runs list shows all)")
        asked = rules.rules(
            gate.table_of(new),
            metrics=choices(metrics or ()) or list(METRICS),
            limits=limit or (),
            on_unresolved=on_unresolved or (),
            allowed=choices(allow_different or ()),
            checkpoints=checkpoints,
        )
        checked = gate.against_run(store, new, old, asked, only or (), strict=False)
        verdicts.say(checked, shown)
    raise typer.Exit(checked.exit_code)
