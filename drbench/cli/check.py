"""`drbench check`: the gate. A suite now, or a run as recorded, beside a baseline, another run or a commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drbench import interrupts
from drbench.cli import options as o
from drbench.errors import InputError, InterruptedRunError, NothingError
from drbench.figures import BUILT_IN

if TYPE_CHECKING:
    from drbench_db import Store

    from drbench.check.rules import Rules
    from drbench.check.verdicts import Checked
    from drbench.records import Event, Run
    from drbench.suite.tables import CheckTable, Suite

    RulesOf = Callable[[CheckTable], Rules]

Metrics = Annotated[
    list[str] | None,
    typer.Option("--metrics", help=f"Metrics to compare: {o.METRICS}. Default: those of the suite."),
]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="METRIC[:GLOB]=SHARE",
        help="Tolerance: how much worse a figure may be. latency=0.03 allows 3%.",
    ),
]
OnUnresolved = Annotated[
    list[str] | None,
    typer.Option(
        "--on-unresolved",
        metavar="[METRIC=]warn|fail",
        help="If a difference cannot be resolved: warn (default) or fail.",
    ),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-different",
        metavar="FIELD",
        help="Compare although this condition differs, for example torch; repeatable.",
    ),
]
Checkpoints = Annotated[
    bool,
    typer.Option("--checkpoints", help="Compare trained networks image by image (McNemar's test), not over seeds."),
]
Format = Annotated[str | None, typer.Option("--format", help="Format: terminal, md, json, bmf, junit or github.")]
Output = Annotated[
    list[Path] | None,
    typer.Option("--output", "-o", help="Also write to this file: .md, .json or .xml (JUnit); repeatable."),
]


def check(
    suite: Annotated[str | None, typer.Argument(help="Suite to run and check. Leave it out with --run.")] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN", help="Check this recorded run: its id, the start of its id, or 'latest'."),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option("--baseline", metavar="FILE", help="Baseline file (default: drbench.baseline.json).")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="REF",
            help="Compare with a recorded run, or with a commit, which takes turns with this code.",
        ),
    ] = None,
    metrics: Metrics = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Only variants that match this glob, such as 'mobilenet_v1*/drconv*'."),
    ] = None,
    limit: Limit = None,
    on_unresolved: OnUnresolved = None,
    allow_different: Allow = None,
    checkpoints: Checkpoints = False,
    max_time: Annotated[
        float, typer.Option("--max-time", help="Maximum seconds to time this code and the commit of --against.")
    ] = 120.0,
    against_python: Annotated[
        str | None,
        typer.Option(
            "--against-python", metavar="PYTHON", help="Python to run the commit of --against, if it needs another."
        ),
    ] = None,
    format: Format = None,
    output: Output = None,
    db: o.Db = None,
) -> None:
    """Check for regressions.

    Exit codes: 0 no regression, 1 regression, 3 nothing to compare, 4 a network failed, 5 unresolved difference.
    """
    from drbench.check import rules as made
    from drbench.cli import verdicts
    from drbench.suite.overrides import choices

    if (suite is None) == (run is None):
        came = "got neither" if suite is None else "got both"
        raise InputError(
            f"check: expected a suite or a run, {came}. `drbench check SUITE` runs a suite and checks it; "
            "`drbench check --run RUN` checks a recorded run"
        )
    if baseline is not None and against is not None:
        raise InputError("got --baseline and --against; expected one of them")
    o.seconds("--max-time", max_time)
    shown = verdicts.outputs(format, output or ())

    def rules_of(table: CheckTable) -> Rules:
        return made.rules(
            table,
            metrics=choices(metrics or ()),
            limits=limit or (),
            on_unresolved=on_unresolved or (),
            allowed=choices(allow_different or ()),
            checkpoints=checkpoints,
        )

    if run is not None:
        checked = _recorded(run, baseline, against, rules_of, only or [], db)
    else:
        assert suite is not None
        asked = set(choices(metrics or ()))
        checked = _measured(suite, baseline, against, rules_of, asked, only or [], max_time, against_python, db)
    verdicts.say(checked, shown)
    raise typer.Exit(checked.exit_code)


def _recorded(
    run: str, baseline: Path | None, against: str | None, rules_of: RulesOf, only: list[str], db: str | None
) -> Checked:
    """Of a run in the database; nothing is measured."""
    from drbench_db import Store

    from drbench.check import gate
    from drbench.check.baseline import DEFAULT

    with Store.open(db) as store:
        now = store.run(run)
        rules = rules_of(gate.table_of(now))
        if against is None:
            return gate.against_file(store, now, baseline or Path(DEFAULT), rules, only)
        other = _known(store, against)
        if other is None:
            raise InputError(
                f"--against: {store.name} has no run {against!r}. With --run, --against names another run; to compare "
                "with a commit, give a suite: `drbench check SUITE --against REF`"
            )
        return gate.against_run(store, now, other, rules, only)


def _measured(
    name: str,
    baseline: Path | None,
    against: str | None,
    rules_of: RulesOf,
    asked: set[str],
    only: list[str],
    max_time: float,
    python: str | None,
    db: str | None,
) -> Checked:
    """Of a suite, which is run first, as far as its metrics need it."""
    from drbench_db import Store

    from drbench.check import gate
    from drbench.check.baseline import DEFAULT
    from drbench.suite.read import read_suite

    suite = read_suite(name, {"only": only})
    rules = rules_of(suite.check)
    if suite.task in BUILT_IN:  # of another task, the records tell
        rules = rules.of_task(BUILT_IN[suite.task])
    if against is None:
        gate.known(path := baseline or Path(DEFAULT), suite.name)  # told before anything is measured
    with Store.open(db, write=True) as store:
        other = _known(store, against) if against is not None else None
        if against is not None and other is None:
            from drbench.check.commits import against_commit

            if asked - {"latency"}:
                raise InputError(
                    f"--metrics: got {', '.join(sorted(asked - {'latency'}))}; only latency can be compared with a "
                    f"commit, and {against!r} is not a run in {store.name}. Check the others with a baseline, in a "
                    "second command"
                )
            with _progress() as shown:
                return against_commit(name, against, rules, only, max_time, python, shown)
        now = _run(suite, rules, store, db)
        if other is not None:
            return gate.against_run(store, now, other, rules, only)
        return gate.against_file(store, now, path, rules, only)


def _run(suite: Suite, rules: Rules, store: Store, db: str | None) -> Run:
    """The suite's run, with the stages that the metrics need."""
    from drbench.check.metrics import stage as stage_of
    from drbench.records import STAGES
    from drbench.run import runner
    from drbench.run.files import files_beside

    wanted = set(map(stage_of, rules.metrics))
    staged = suite.model_copy(update={"stages": tuple(stage for stage in STAGES if stage in wanted)})
    with _progress() as shown:
        work = runner.prepare(staged, shown)
        command = o.command_line()
        outcome = runner.run_suite(staged, store, work=work, files=files_beside(db), command=command, on_event=shown)
    if outcome.status == "interrupted":
        then = f"drbench run --resume {outcome.run_id}, then drbench check --run {outcome.run_id}"
        raise InterruptedRunError(f"{interrupts.words()}; continue with: {then}")
    return store.run(outcome.run_id)


def _known(store: Store, ref: str) -> Run | None:
    """The run that is meant, if it is one."""
    try:
        return store.run(ref)
    except (InputError, NothingError):
        return None


@contextmanager
def _progress() -> Iterator[Callable[[Event], None]]:
    """On stderr alone: stdout is for the verdicts."""
    from drbench.cli.progress import Progress

    with Progress() as shown:
        yield lambda event: None if event.kind == "table" else shown(event)
