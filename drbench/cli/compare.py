"""`drbench compare`: compare two runs by the rules of `drbench check`."""

from __future__ import annotations

from typing import Annotated

import typer

from drbench.cli import options as o
from drbench.cli.check import Allow, Checkpoints, Format, Limit, Metrics, OnUnresolved, Output
from drbench.cli.damaged import reading
from drbench.errors import InputError


def compare(
    before: Annotated[str, typer.Argument(help="Run to compare with: its id, or the start of its id.")],
    now: Annotated[str, typer.Argument(help="Run to check: its id, or the start of its id.")] = "latest",
    metrics: Metrics = None,
    only: o.Only = None,
    limit: Limit = None,
    on_unresolved: OnUnresolved = None,
    allow_different: Allow = None,
    checkpoints: Checkpoints = False,
    format: Format = None,
    output: Output = None,
    db: o.Db = None,
) -> None:
    """Compare two runs: ratio, interval and verdict per variant. Exit codes are those of `drbench check`."""
    from drbench.check import gate, rules
    from drbench.check.metrics import usual
    from drbench.cli import verdicts
    from drbench.suite.overrides import choices

    shown = verdicts.outputs(format, output or ())
    with reading(db) as store:
        old, new = store.run(before), store.run(now)
        if old.id == new.id:
            raise InputError(
                f"drbench compare: got run {old.id} twice; expected two runs. List them with drbench runs list"
            )
        asked = rules.rules(
            gate.table_of(new),
            metrics=choices(metrics or ()) or usual(gate.task_of(store, new, old)),
            limits=limit or (),
            on_unresolved=on_unresolved or (),
            allowed=choices(allow_different or ()),
            checkpoints=checkpoints,
        )
        checked = gate.against_run(store, new, old, asked, only or (), strict=False)
        verdicts.say(checked, shown)
    raise typer.Exit(checked.exit_code)
