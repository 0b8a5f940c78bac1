"""`drbench baseline`: the file with which the checks of a repository compare."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drbench.cli import options as o
from drbench.cli.damaged import warn
from drbench.cli.output import say
from drbench.errors import InputError, NothingError

if TYPE_CHECKING:
    from drbench.check.baseline import Baseline
    from drbench.check.facts import VariantFacts

app = typer.Typer(
    no_args_is_help=True, help="Manage the baseline: the file of figures with which `drbench check` compares."
)

File = Annotated[Path, typer.Option("--baseline", help="Baseline file.")]
Only = Annotated[
    list[str] | None, typer.Option("--only", help="Only variants that match this glob: NETWORK/LABEL; repeatable.")
]
Suite = Annotated[str | None, typer.Option("--suite", help="Only this suite.")]
Metrics = Annotated[list[str] | None, typer.Option("--metrics", help=f"Metrics: {o.METRICS}.")]
FILE = Path("drbench.baseline.json")


@app.callback()
def _baseline() -> None:
    pass


@app.command("save")
def save(
    run: Annotated[str, typer.Option("--run", help="Run: its id, the start of its id, or 'latest'.")] = "latest",
    metrics: Metrics = None,
    only: Only = None,
    baseline: File = FILE,
    db: o.Db = None,
) -> None:
    """Save the figures of a run in the baseline. Other figures in it are kept."""
    from drbench_db import Store

    from drbench.check import baseline as files
    from drbench.check import metrics as known
    from drbench.check.gate import facts_of, task_of
    from drbench.suite.overrides import choices

    with Store.open(db) as store:
        of = store.run(run)
        task = task_of(store, of)
        wanted = known.check(choices(metrics or []), task) or known.usual(task)
        found = facts_of(store, of, wanted)
        warn(store)
    kept = {name: facts for name, facts in found.items() if files.chosen(name, only or ()) and facts.known()}
    if not kept:
        failed = "; ".join(f"{name}: {why}" for name, facts in found.items() for why in facts.failed.values())
        raise NothingError(
            f"run {of.id} has nothing to save for {' '.join(only or ['any variant'])}{failed and ': '}{failed}"
        )
    before = files.read(baseline) if files.is_there(baseline) else files.Baseline()
    files.write(files.saved(before, of, kept, wanted), baseline)
    for name, facts in found.items():
        for metric, why in facts.failed.items():
            say(f"left out: {metric} of {name}, which failed: {why}", err=True)
    what = sorted({metric for facts in kept.values() for metric in facts.known()}, key=wanted.index)
    say(f"{baseline}: {len(kept)} variants of suite {of.suite} ({', '.join(what)}) from run {of.id}")


@app.command("list")
def list_(suite: Suite = None, only: Only = None, baseline: File = FILE) -> None:
    """List the variants in the baseline, with their metrics."""
    from drbench.check import baseline as files
    from drbench.cli.tables import show, table

    found = files.read(baseline)
    rows = [
        (name, variant, ", ".join(facts.known()), facts.hash)
        for name in _suites(found, suite)
        for variant, facts in sorted(found.variants(name, only or ()).items())
    ]
    if not rows:
        raise NothingError(f"baseline {baseline} has no such variant")
    show(table("", ("suite", "variant", "metrics", "hash"), rows, 4))


@app.command("show")
def show_(suite: Suite = None, only: Only = None, baseline: File = FILE) -> None:
    """Show the figures in the baseline, their runs, and the accepted changes."""
    from drbench.check import baseline as files
    from drbench.cli.tables import show, table

    found = files.read(baseline)
    rows = [
        (name, variant, *line)
        for name in _suites(found, suite)
        for variant, facts in sorted(found.variants(name, only or ()).items())
        for line in _figures(facts)
    ]
    if not rows:
        raise NothingError(f"baseline {baseline} has no such variant")
    show(table("", ("suite", "variant", "metric", "figures", "run"), rows, 5))
    for name, run in sorted(found.runs.items()):
        say(f"run {name}: {run.started}, drbench {run.drbench} {run.commit}, {run.machine}".rstrip(", "))
    for one in found.accepted:
        say(f"accepted {one.date}: {one.metric} of {one.variant} ({one.suite}): {one.change}. {one.reason}")


@app.command("remove")
def remove(
    only: Annotated[
        list[str], typer.Option("--only", help="Only variants that match this glob: NETWORK/LABEL; repeatable.")
    ],
    suite: Suite = None,
    baseline: File = FILE,
) -> None:
    """Remove variants from the baseline."""
    from drbench.check import baseline as files

    found = files.read(baseline)
    gone = {name: tuple(found.variants(name, only)) for name in _suites(found, suite)}
    if not any(gone.values()):
        raise NothingError(f"baseline {baseline} has no variant that matches {' '.join(only)}")
    files.write(files.removed(found, gone), baseline)
    for name, variants in gone.items():
        for variant in variants:
            say(f"removed {variant} of suite {name}")


@app.command("accept")
def accept(
    only: Annotated[
        list[str], typer.Option("--only", help="Only variants that match this glob: NETWORK/LABEL; repeatable.")
    ],
    metric: Annotated[str, typer.Option("--metric", help=f"Metric: {o.METRICS}.")],
    reason: Annotated[str, typer.Option("--reason", help="Reason for the change; saved in the baseline.")],
    run: Annotated[str, typer.Option("--run", help="Run: its id, the start of its id, or 'latest'.")] = "latest",
    baseline: File = FILE,
    db: o.Db = None,
) -> None:
    """Accept an intended change: save it in the baseline, with the reason."""
    from drbench_db import Store

    from drbench.check import baseline as files
    from drbench.check import gate
    from drbench.check import metrics as known

    if not reason.strip():
        raise InputError("--reason is empty. Say why the change is intended: the reviewer reads it")
    found = files.read(baseline)
    with Store.open(db) as store:
        of = store.run(run)
        task = gate.task_of(store, of)
        now = gate.facts_of(store, of, known.check([metric], task))
        warn(store)
    changed, accepted = gate.accept(found, of, now, metric, " ".join(reason.split()), only, task)
    files.write(changed, baseline)
    for one in accepted:
        say(f"accepted {one.metric} of {one.variant}: {one.change}")


def _figures(facts: VariantFacts) -> Iterator[tuple[str, str, str]]:
    """(metric, figures in words, run) of all that is known of a variant."""
    from math import exp
    from statistics import fmean

    if facts.costs:
        layers = facts.costs.layers
        madds, params = sum(x.work for x in layers), sum(x.params for x in layers)
        yield "costs", f"{madds:,} multiply-adds, {params:,} parameters", facts.costs.run
    if facts.latency:
        for ratio in facts.latency.ratios:
            text = f"b={ratio.batch}: {exp(fmean(ratio.workers)):.3f} times the plain network"
            yield "latency", f"{text}, {len(ratio.workers)} workers", facts.latency.run
    if facts.memory:
        for peak in facts.memory.peaks:
            yield "memory", f"{peak.part}: {peak.bytes / 2**20:.1f} MiB", facts.memory.run
    for name, scores in facts.scores.items():
        values = ", ".join(scores.declared.text(one.value) for one in scores.seeds)
        count = scores.seeds[0].count
        yield name, f"{values} of {count:,} {scores.unit}s" if count else values, scores.run


def _suites(found: Baseline, wanted: str | None) -> list[str]:
    from drbench.errors import unknown

    names = sorted(found.suites)
    if wanted is not None and wanted not in names:
        raise unknown("suite", wanted, names, "Those are in the baseline")
    return names if wanted is None else [wanted]
