"""`drbench run`: measure and train what a suite names, or a single model."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drbench.cli import options as o
from drbench.errors import FAILED, INTERRUPTED, InputError

if TYPE_CHECKING:
    from drbench.records import Run
    from drbench.suite import Suite

app = typer.Typer(help="Count, time and train networks, and record what comes out.")


@app.callback(invoke_without_command=True)
def _run(
    context: typer.Context,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Go on with a run, or 'latest'.")
    ] = None,
    db: o.Db = None,
) -> None:
    if context.invoked_subcommand is not None:
        if resume is not None:
            raise InputError("--resume RUN needs no suite or model: the run knows its own")
        context.obj = db
    elif resume is None:
        raise InputError("run what? drbench run suite NAME, drbench run model NAME, or drbench run --resume RUN")
    else:
        _resume(resume, db)


@app.command("suite")
def run_suite(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A shipped suite, or the path of a TOML file.")],
    regions: o.Regions = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Glob over architecture/variant.")] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", help="Glob over architecture/variant.")] = None,
    model: Annotated[list[str] | None, typer.Option("--model", help="Instead of the suite's architectures.")] = None,
    operator: o.Operator = None,
    set_: o.Set = None,
    where: o.Where = None,
    where_set: o.WhereSet = None,
    model_set: o.ModelSet = None,
    init: o.Init = None,
    match: o.Match = None,
    stages: o.Stages = None,
    data: o.Data = None,
    data_root: o.DataRoot = None,
    download: o.Download = False,
    val_fraction: o.ValFraction = None,
    preset: o.Preset = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    lr: o.Lr = None,
    seeds: o.Seeds = None,
    batch_sizes: o.BatchSizes = None,
    threads: o.Threads = None,
    device: o.Device = None,
    precision: o.Precision = None,
    input_: o.Input = None,
    num_classes: o.Classes = None,
    stem_stride: o.StemStride = None,
    dry_run: o.DryRun = False,
    db: o.Db = None,
) -> None:
    """Run a suite: shipped (see `drbench suites list`), or a TOML file of your own."""
    from drbench.suite import read_suite

    _execute(read_suite(name, o.as_overrides(_given(locals()))), db or context.obj, dry_run)


@app.command("model")
def run_model(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A model (see `drbench models list`), or package.module:callable.")],
    operator: o.Operator = None,
    regions: o.Regions = None,
    set_: o.Set = None,
    where: o.Where = None,
    where_set: o.WhereSet = None,
    model_set: o.ModelSet = None,
    init: o.Init = None,
    match: o.Match = None,
    stages: o.Stages = None,
    data: o.Data = None,
    data_root: o.DataRoot = None,
    download: o.Download = False,
    val_fraction: o.ValFraction = None,
    preset: o.Preset = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    lr: o.Lr = None,
    seeds: o.Seeds = None,
    batch_sizes: o.BatchSizes = None,
    threads: o.Threads = None,
    device: o.Device = None,
    precision: o.Precision = None,
    input_: o.Input = None,
    num_classes: o.Classes = None,
    stem_stride: o.StemStride = None,
    eval_only: Annotated[bool, typer.Option("--eval-only", help="Evaluate --weights instead of training.")] = False,
    weights: Annotated[str | None, typer.Option("--weights", help="Model file for --eval-only.")] = None,
    dry_run: o.DryRun = False,
    db: o.Db = None,
) -> None:
    """Run one model: a suite of one, plain and with --operator (drconv where only --regions is given)."""
    if eval_only != (weights is not None):
        raise InputError("--eval-only and --weights FILE go together")
    given = o.as_overrides(_given(locals()))
    from drbench.suite import of_model

    _execute(of_model(name, given), db or context.obj, dry_run)


def _given(found: dict[str, Any]) -> dict[str, Any]:
    """The options of a verb by their own names."""
    left_out = ("context", "name", "dry_run", "db", "eval_only")
    return {key.rstrip("_"): value for key, value in found.items() if key not in left_out}


def _resume(run_id: str, db: str | None) -> None:
    from drbench_db import Store

    from drbench.suite import parse, validate

    with Store.open(db) as store:
        run = store.run(run_id)
    suite = validate(parse(run.suite_text, run.id), run.id)
    _execute(suite, db, dry_run=False, resume=run)


def _execute(suite: Suite, db: str | None, dry_run: bool, resume: Run | None = None) -> None:
    """Check, run, and say what to do next; the exit code is that of the run."""
    from drbench_db import Store
    from drbench_db.location import locate

    from drbench import runner
    from drbench.cli.progress import Progress

    path = locate(db).path
    files = (path.parent if path else Path.cwd()).resolve() / "drbench-files"
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's "please end" is a Ctrl-C
    with Progress() as shown:
        work = runner.prepare(suite)
        if dry_run:
            runner.dry_run(suite, shown)
            for one in work:
                seed = "" if one.seed is None else f" seed {one.seed}"
                print(f"{one.stage:8} {one.variants[0].architecture}: {', '.join(one.labels)}{seed}")
            return
        with Store.open(db, write=True) as store:
            command = shlex.join(["drbench", *sys.argv[1:]])
            outcome = runner.run_suite(
                suite, store, work=work, files=files, command=command, resume=resume, on_event=shown
            )
    where = f" --db {db}" if db else ""
    skipped = f", {outcome.skipped} done before" if outcome.skipped else ""
    print(f"run {outcome.run_id} {outcome.status}: {outcome.done} done, {outcome.failed} failed{skipped}", flush=True)
    if outcome.status == "interrupted":
        print(f"go on with: drbench run --resume {outcome.run_id}{where}", file=sys.stderr, flush=True)
        raise typer.Exit(INTERRUPTED)
    print(f"see it with: drbench report --run {outcome.run_id}{where}", flush=True)
    if outcome.failed:
        raise typer.Exit(FAILED)
