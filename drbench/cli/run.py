"""`drbench run`: run a suite, a single model, or the operator benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drbench import interrupts
from drbench.cli import ops
from drbench.cli import options as o
from drbench.cli.damaged import warn
from drbench.cli.output import say
from drbench.errors import FAILED, InputError, InterruptedRunError, NothingError
from drbench.records import OPS

if TYPE_CHECKING:
    from drbench_kernels.bench.options import Settings

    from drbench.records import Run
    from drbench.run.session import Outcome
    from drbench.suite.tables import Suite

RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="With --resume: also retry failed work.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost; run and record nothing.")]

app = typer.Typer(help="Count, time and train networks, and record the results.")


@app.callback(invoke_without_command=True)
def _run(
    context: typer.Context,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN", help="Continue a run: its id, the start of its id, or 'latest'."),
    ] = None,
    retry_failed: RetryFailed = False,
    trust: o.Trust = None,
    db: o.Db = None,
) -> None:
    if context.invoked_subcommand is not None:
        if resume is not None or retry_failed:
            raise InputError("--resume RUN: got a suite or a model too; expected neither, because the run has its own")
        if trust:
            raise InputError("--trust NAME: expected after the name of the suite or model")
        context.obj = db
    elif resume is None:
        raise InputError("drbench run: expected what to run: `suite NAME`, `model NAME`, `ops`, or `--resume RUN`")
    else:
        _resume(resume, db, retry_failed, trust or ())


@app.command("suite")
@o.overriding(*o.OVERRIDES)
def run_suite(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A shipped suite, or the path of a TOML file.")],
    given: dict[str, Any],
    dry_run: DryRun = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the newest unfinished run of this suite.")] = False,
    retry_failed: RetryFailed = False,
    db: o.Db = None,
) -> None:
    """Run a suite: a shipped one (`drbench suites list`), or your own TOML file."""
    if retry_failed and not resume:
        raise InputError("--retry-failed: expected --resume too; a new run has no failures to retry")
    from drbench.suite.read import read_suite

    suite, path = read_suite(name, o.as_overrides(given)), db or context.obj
    _execute(suite, path, dry_run, resume=_unfinished(suite, path) if resume else None, retry_failed=retry_failed)


@app.command("model")
@o.overriding(*o.OF_MODEL)
def run_model(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A model (`drbench models list`), or package.module:callable.")],
    given: dict[str, Any],
    eval_only: Annotated[bool, typer.Option("--eval-only", help="Evaluate --weights instead of training.")] = False,
    weights: Annotated[str | None, typer.Option("--weights", help="Model file to evaluate with --eval-only.")] = None,
    dry_run: DryRun = False,
    db: o.Db = None,
) -> None:
    """Run one model: plain, and converted with --operator (drconv if only --regions is given)."""
    if eval_only != (weights is not None):
        raise InputError("--eval-only and --weights FILE: got one of the two; expected both or neither")
    from drbench.suite.read import of_model

    _execute(of_model(name, o.as_overrides({**given, "weights": weights})), db or context.obj, dry_run)


@app.command("ops")
@o.takes(ops.OPTIONS)
def run_ops(context: typer.Context, given: dict[str, Any], db: o.Db = None) -> None:
    """Time the region convolution and the plain convolution, layer shape by layer shape."""
    from drbench.run.opbench.run import settings

    _execute_ops(settings(given), db or context.obj)


def _unfinished(suite: Suite, db: str | None) -> Run:
    """The newest unfinished run of exactly this suite. NothingError if there is none."""
    from drbench_db import Store

    from drbench.run.session import is_noise
    from drbench.suite.read import to_toml

    text = to_toml(suite)
    with Store.open(db) as store:
        for run in store.runs(suite.name):
            if run.suite_text == text and run.status != "done" and not is_noise(run):
                return run
    raise NothingError(
        f"--resume: got suite {suite.name!r}; expected an unfinished run of it with these settings. Leave --resume out"
    )


def _resume(run_id: str, db: str | None, retry_failed: bool, trusted: Sequence[str]) -> None:
    from drbench_db import Store

    from drbench import trust
    from drbench.run.files import files_beside, run_folder
    from drbench.run.session import is_noise
    from drbench.suite.plan import named
    from drbench.suite.read import parse, validate

    with Store.open(db) as store:
        run = store.run(run_id)
        warn(store)
    if is_noise(run):  # its suite is that of the networks: resuming would train and count them
        raise InputError(f"--resume: got {run.id}, a noise run; expected a run of a suite, a model or ops")
    document = parse(run.suite_text, run.id)
    if set(document) == {OPS}:
        from drbench.run.opbench.run import LAYER, resumed

        settings = resumed(document[OPS])
        trust.require((settings.layer,), {LAYER, *trusted}, f"run {run.id}", "--trust NAME")
        _execute_ops(settings, db, resume=run)
        return
    suite = validate(document, run.id)
    if not trust.is_own(run, run_folder(files_beside(db), run)):
        trust.require(named(suite), trusted, f"run {run.id}, which this machine did not start,", "--trust NAME")
    _execute(suite, db, dry_run=False, resume=run, retry_failed=retry_failed)


def _execute(
    suite: Suite, db: str | None, dry_run: bool, resume: Run | None = None, retry_failed: bool = False
) -> None:
    """Check and run a suite, then print what to do next. The exit code is that of the run."""
    from drbench_db import Store

    from drbench.cli.progress import Progress
    from drbench.run import runner
    from drbench.run.files import files_beside

    with Progress() as shown:
        work = runner.prepare(suite, shown)
        if dry_run:
            runner.dry_run(suite, shown)
            for one in work:
                seed = "" if one.seed is None else f" seed {one.seed}"
                say(f"{one.stage:8} {one.variants[0].architecture}: {', '.join(one.labels)}{seed}")
            return
        with Store.open(db, write=True) as store:
            command = o.command_line()
            outcome = runner.run_suite(
                suite,
                store,
                work=work,
                files=files_beside(db),
                command=command,
                resume=resume,
                retry_failed=retry_failed,
                on_event=shown,
            )
    _conclude(outcome, db)


def _execute_ops(wanted: Settings, db: str | None, resume: Run | None = None) -> None:
    from drbench_db import Store

    from drbench.cli.progress import Progress
    from drbench.run.files import files_beside
    from drbench.run.opbench.run import run_ops

    with Progress() as shown, Store.open(db, write=True) as store:
        command = o.command_line()
        outcome = run_ops(wanted, store, files=files_beside(db), command=command, resume=resume, on_event=shown)
    _conclude(outcome, db)


def _conclude(outcome: Outcome, db: str | None) -> None:
    """Print the result of the run and what to do next; exit with its code."""
    where = o.db_option(db)
    skipped = f", {outcome.skipped} already done" if outcome.skipped else ""
    lost = f", {outcome.lost} failed earlier" if outcome.lost else ""
    counted = f"{outcome.done} done, {outcome.failed} failed{skipped}{lost}"
    say(f"run {outcome.run_id} {outcome.status}: {counted}")
    if outcome.status == "interrupted":
        raise InterruptedRunError(f"{interrupts.words()}; continue with: drbench run --resume {outcome.run_id}{where}")
    say(f"see the results: drbench report --run {outcome.run_id}{where}")
    if outcome.lost:
        say(f"retry what failed: drbench run --resume {outcome.run_id} --retry-failed{where}")
    if outcome.failed or outcome.lost:
        raise typer.Exit(FAILED)
