"""`drbench run`: measure and train what a suite names, or a single model; `run ops` times single layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drbench import interrupts
from drbench.cli import options as o
from drbench.cli.damaged import warn
from drbench.cli.output import say
from drbench.errors import FAILED, InputError, InterruptedRunError, NothingError
from drbench.records import OPS

if TYPE_CHECKING:
    from drbench_kernels.bench.options import Settings

    from drbench.records import Run
    from drbench.runner import Outcome
    from drbench.suite_tables import Suite

RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="With --resume: do again what failed, not only what is missing.")
]
app = typer.Typer(help="Count, time and train networks, and record what comes out.")


@app.callback(invoke_without_command=True)
def _run(
    context: typer.Context,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Go on with a run, or 'latest'.")
    ] = None,
    retry_failed: RetryFailed = False,
    trust: o.Trust = None,
    db: o.Db = None,
) -> None:
    if context.invoked_subcommand is not None:
        if resume is not None or retry_failed:
            raise InputError("--resume RUN needs no suite or model: the run knows its own")
        if trust:
            raise InputError("--trust NAME: give it after the suite's or the model's name")
        context.obj = db
    elif resume is None:
        raise InputError(
            "run what? drbench run suite NAME, drbench run model NAME, drbench run ops, or drbench run --resume RUN"
        )
    else:
        _resume(resume, db, retry_failed, trust or ())


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
    timeout: o.Timeout = None,
    memory_limit: o.MemoryLimit = None,
    shard: o.Shard = None,
    trust: o.Trust = None,
    dry_run: o.DryRun = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with its newest run that has not ended.")] = False,
    retry_failed: RetryFailed = False,
    db: o.Db = None,
) -> None:
    """Run a suite: shipped (see `drbench suites list`), or a TOML file of your own."""
    if retry_failed and not resume:
        raise InputError("--retry-failed goes with --resume: there is nothing to try again in a new run")
    given = o.as_overrides(_given(locals()))
    from drbench.suite import read_suite

    suite, path = read_suite(name, given), db or context.obj
    _execute(suite, path, dry_run, resume=_unfinished(suite, path) if resume else None, retry_failed=retry_failed)


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
    timeout: o.Timeout = None,
    memory_limit: o.MemoryLimit = None,
    eval_only: Annotated[bool, typer.Option("--eval-only", help="Evaluate --weights instead of training.")] = False,
    weights: Annotated[str | None, typer.Option("--weights", help="Model file for --eval-only.")] = None,
    trust: o.Trust = None,
    dry_run: o.DryRun = False,
    db: o.Db = None,
) -> None:
    """Run one model: a suite of one, plain and with --operator (drconv where only --regions is given)."""
    if eval_only != (weights is not None):
        raise InputError("--eval-only and --weights FILE go together")
    given = o.as_overrides(_given(locals()))
    from drbench.suite import of_model

    _execute(of_model(name, given), db or context.obj, dry_run)


@app.command("ops")
def run_ops(
    context: typer.Context,
    set_: Annotated[str | None, typer.Option("--set", help="Which shapes: pointwise (default), 3x3 or all.")] = None,
    shapes: Annotated[
        str | None, typer.Option("--shapes", help="Of these only: globs or names, as in 1x1-24-58@28.")
    ] = None,
    batch_sizes: Annotated[str | None, typer.Option("--batch-sizes", help="As in 1,32,128 (default).")] = None,
    passes: Annotated[str | None, typer.Option("--passes", help="forward, forward+backward; both (default).")] = None,
    ways: Annotated[str | None, typer.Option("--ways", help="Globs over the ways to compute a layer.")] = None,
    regions: Annotated[int | None, typer.Option("--regions", help="Filters to choose from (8).")] = None,
    experts: Annotated[
        int | None, typer.Option("--experts", help="Size of the bank that filters are mixed from (8).")
    ] = None,
    masks: Annotated[str | None, typer.Option("--masks", help="Region maps: smooth, scattered or constant.")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="float32, bfloat16 or float16.")] = None,
    memory_format: Annotated[str | None, typer.Option("--memory-format", help="channels_last or contiguous.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")] = None,
    threads: o.Threads = None,
    max_seconds: Annotated[float | None, typer.Option("--max-seconds", help="Of samples, for each way.")] = None,
    rounds: Annotated[int | None, typer.Option("--rounds", help="At most so many samples, for each way.")] = None,
    call_seconds: Annotated[
        float | None, typer.Option("--call-seconds", help="Other ways than ours are skipped where a call takes longer.")
    ] = None,
    memory_gib: Annotated[
        float | None, typer.Option("--memory-gib", help="A way is skipped where it needs more.")
    ] = None,
    graph: Annotated[bool, typer.Option("--graph", help="On a GPU: CUDA graphs of several calls.")] = False,
    flush_l2: Annotated[bool, typer.Option("--flush-l2", help="On a GPU: with an empty L2 cache.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Six shapes at batch sizes 1 and 32.")] = False,
    db: o.Db = None,
) -> None:
    """The operator benchmark: the region convolution beside the plain one, layer shape by layer shape."""
    given = {key: value for key, value in locals().items() if key not in ("context", "db")}
    from drbench.opbench.run import settings

    _execute_ops(settings(given), db or context.obj)


def _given(found: dict[str, Any]) -> dict[str, Any]:
    """The options of a verb by their own names."""
    left_out = ("context", "name", "dry_run", "db", "eval_only", "resume", "retry_failed")
    return {key.rstrip("_"): value for key, value in found.items() if key not in left_out}


def _unfinished(suite: Suite, db: str | None) -> Run:
    """The newest run of just this suite that is not done. NothingError where there is none."""
    from drbench_db import Store

    from drbench.suite import to_toml

    text = to_toml(suite)
    with Store.open(db) as store:
        for run in store.runs(suite.name):
            if run.suite_text == text and run.status != "done":
                return run
    raise NothingError(f"no unfinished run of suite {suite.name!r} with these settings: start one without --resume")


def _resume(run_id: str, db: str | None, retry_failed: bool, trusted: Sequence[str]) -> None:
    from drbench_db import Store

    from drbench import runner, trust
    from drbench.suite import named, parse, validate

    with Store.open(db) as store:
        run = store.run(run_id)
        warn(store)
    document = parse(run.suite_text, run.id)
    if set(document) == {OPS}:
        from drbench.opbench.run import LAYER, resumed

        settings = resumed(document[OPS])
        trust.require((settings.layer,), {LAYER, *trusted}, f"run {run.id}", "--trust NAME")
        _execute_ops(settings, db, resume=run)
        return
    suite = validate(document, run.id)
    if not trust.is_own(run, runner.folder(o.files(db), run)):
        trust.require(named(suite), trusted, f"run {run.id}, which was not begun here,", "--trust NAME")
    _execute(suite, db, dry_run=False, resume=run, retry_failed=retry_failed)


def _execute(
    suite: Suite, db: str | None, dry_run: bool, resume: Run | None = None, retry_failed: bool = False
) -> None:
    """Check, run, and say what to do next; the exit code is that of the run."""
    from drbench_db import Store

    from drbench import runner
    from drbench.cli.progress import Progress

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
                files=o.files(db),
                command=command,
                resume=resume,
                retry_failed=retry_failed,
                on_event=shown,
            )
    _conclude(outcome, db)


def _execute_ops(wanted: Settings, db: str | None, resume: Run | None = None) -> None:
    from drbench_db import Store

    from drbench.cli.progress import Progress
    from drbench.opbench.run import run_ops

    with Progress() as shown, Store.open(db, write=True) as store:
        command = o.command_line()
        outcome = run_ops(wanted, store, files=o.files(db), command=command, resume=resume, on_event=shown)
    _conclude(outcome, db)


def _conclude(outcome: Outcome, db: str | None) -> None:
    """Say what became of the run and what to do next; leave with its exit code."""
    where = o.db_option(db)
    skipped = f", {outcome.skipped} done before" if outcome.skipped else ""
    lost = f", {outcome.lost} failed before" if outcome.lost else ""
    counted = f"{outcome.done} done, {outcome.failed} failed{skipped}{lost}"
    say(f"run {outcome.run_id} {outcome.status}: {counted}")
    if outcome.status == "interrupted":
        raise InterruptedRunError(f"{interrupts.words()}; go on with: drbench run --resume {outcome.run_id}{where}")
    say(f"see it with: drbench report --run {outcome.run_id}{where}")
    if outcome.lost:
        say(f"try again what failed: drbench run --resume {outcome.run_id} --retry-failed{where}")
    if outcome.failed or outcome.lost:
        raise typer.Exit(FAILED)
