"""Runs as text: the list of runs, or one run with its figures, costs by layer, curves and failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from drbench.errors import NothingError, unknown
from drbench.figures import Figure, of_settings
from drbench.records import Epoch, LayerCost, Measurement, Record, Run
from drbench.report.layout import Cells, lay_out
from drbench.report.terminal import Page
from drbench.statistics.samples import summary
from drbench.text import to_json

if TYPE_CHECKING:
    from drbench_db import Store

FORMATS = ("terminal", "json")


def runs_table(
    store: Store,
    *,
    suite: str | None = None,
    format: str = "terminal",
    width: int | None = None,
    color: bool = False,
    left: Callable[[Run], bool] = lambda run: False,
) -> str:
    """All runs of a store, the newest first. NothingError if there are none.

    `left`: returns whether no process works on a run that has not ended; its status is then "killed".
    """
    _check_format(format)
    runs = [
        replace(run, status="killed") if run.status == "running" and left(run) else run for run in store.runs(suite)
    ]
    if not runs:
        of_suite = f" of suite {suite!r}" if suite else ""
        raise NothingError(f"database {store.name} has no runs{of_suite}. Create one with `drbench run suite smoke`")
    counts = store.counts()
    if format == "json":
        listed = [{**_run(run), "records": counts.get(run.id, {})} for run in runs]
        return to_json(listed)
    page = Page(width or 120, color)
    first = _cells("run", (run.id for run in runs), left=True)
    columns = [
        _cells("suite", (run.suite for run in runs), left=True),
        _cells("status", (run.status for run in runs), left=True),
        _cells("records done", (_of(counts.get(run.id, {})) for run in runs)),
        _cells("started", (run.started for run in runs), left=True),
        _cells("machine", (run.machine.hostname for run in runs), left=True),
        _cells("command", (run.command for run in runs), left=True),
    ]
    page.lines(lay_out(first, columns, width or 120))
    return page.done()


def show(
    store: Store,
    run_id: str = "latest",
    *,
    format: str = "terminal",
    layers: bool = False,
    width: int | None = None,
    color: bool = False,
) -> str:
    """One run: machine, code, each record with its figures and curve, and failures with their reasons.

    `layers` adds each network's cost table. Json has everything except raw samples and predictions.
    InputError or NothingError for an unknown run.
    """
    _check_format(format)
    run = store.run(run_id)
    records = store.records(run.id)
    if format == "json":
        whole = {**_run(run), "records": [_record(record) for record in records]}
        return to_json(whole, default=list)
    page = Page(width or 120, color)
    for line in _header(run):
        page.text(line)
    for record in records:
        _show_record(page, record, layers, width or 120)
    failed = [record for record in records if record.status != "done"]
    page.text("")
    page.text(f"{len(records)} records, {len(failed)} not done.", "red" if failed else "green")
    for record in failed:
        page.text(f"  {_title(record)}: {record.status}: {record.error or 'no reason recorded'}", "red")
        for name, path in record.files.items():
            page.text(f"    {name}: {path}", "dim")
    return page.done()


def _header(run: Run) -> Iterator[str]:
    m, c = run.machine, run.code
    yield f"run {run.id}: suite {run.suite}, {run.status}"
    yield f"command: {run.command}"
    yield f"started {run.started}, finished {run.finished or 'not yet'}"
    gpu = f", {m.gpu} ({m.gpu_memory_bytes / 2**30:.0f} GiB, driver {m.driver})" if m.gpu else ""
    yield (
        f"machine {m.hostname}: {m.cpu}, {m.cores} cores, {m.threads} threads, {m.memory_bytes / 2**30:.0f} GiB{gpu}, "
        f"{m.os}, Python {m.python}, torch {m.torch} {m.cpu_capability}".rstrip()
    )
    repository = f"; {c.repository} at {c.commit}{' with changes' if c.dirty else ''}" if c.repository else ""
    yield f"drbench {c.drbench}{repository}"


def _title(record: Record) -> str:
    seed = "" if record.seed is None else f", seed {record.seed}"
    return f"{record.variant.architecture} {record.label}: {record.stage}{seed}"


def _show_record(page: Page, record: Record, layers: bool, width: int) -> None:
    page.text("")
    page.text(f"{_title(record)}: {record.status}", "bold" if record.status == "done" else "bold red")
    if "kernels" in record.settings:
        page.text(f"  region convolutions: {record.settings['kernels']}")
    if record.measurements:
        page.lines(_measurements(record.measurements, width))
    if layers and record.layers:
        page.lines(_layers(record.layers, width))
    if record.epochs:
        page.lines(_epochs(record.epochs, of_settings(record.settings).main, width))
    for note in record.notes:
        page.text(f"note: {note}", "yellow")


def _measurements(measurements: Sequence[Measurement], width: int) -> Any:
    summaries = [summary(m.samples) if m.samples else None for m in measurements]
    names = (f"  {m.name}{f'.{m.part}' if m.part else ''}" for m in measurements)

    def quantile(name: str) -> Iterator[str]:
        return ("" if summary is None else f"{getattr(summary, name):.6g}" for summary in summaries)

    columns = [
        _cells("value", (_figure(m.value) for m in measurements)),
        _cells("unit", (m.unit for m in measurements), left=True),
        _cells("samples", (str(len(m.samples)) if m.samples else "" for m in measurements)),
        *(_cells(name, quantile(name)) for name in ("p25", "p75", "p90", "p99") if any(summaries)),
        _cells("with", (_with(m.context) for m in measurements), left=True),
    ]
    return lay_out(_cells("  figure", names, left=True), columns, width)


def _with(context: Mapping[str, Any]) -> str:
    """Such as "b=8, 2 threads, float32, cpu, contiguous, 5 processes, 95% [1.05 1.09]", then other text and numbers."""
    left = dict(context)
    words = []
    for key, text in (("batch_size", "b={}"), ("threads", "{} threads"), ("dtype", "{}"), ("device", "{}")):
        if key in left:
            words.append(text.format(left.pop(key)))
    if left.pop("channels_last", True) is False:
        words.append("contiguous")
    if isinstance(workers := left.pop("workers", None), list):
        words.append(f"{len(workers)} processes")
    if isinstance(interval := left.pop("interval", None), list):
        words.append(f"{left.pop('level', 0.95):.0%} [{interval[0]:.4g} {interval[1]:.4g}]")
    words += [f"{key} {value}" for key, value in left.items() if isinstance(value, str | int | float)]
    return ", ".join(words)


def _layers(layers: Sequence[LayerCost], width: int) -> Any:
    columns = [
        _cells("kind", (c.kind for c in layers), left=True),
        _cells("output", ("x".join(map(str, c.output_shape)) for c in layers)),
        _cells("MAdds", ("not declared" if c.madds is None else f"{c.madds:,}" for c in layers)),
        _cells("executed", (f"{c.executed:,}" for c in layers)),
        _cells("params", (f"{c.params:,}" for c in layers)),
        _cells("of which", (", ".join(f"{k} {v:,}" for k, v in c.parts.items()) for c in layers), left=True),
    ]
    return lay_out(_cells("  layer", (f"  {c.name}" for c in layers), left=True), columns, width)


def _epochs(epochs: Sequence[Epoch], headline: Figure, width: int) -> Any:
    def column(name: str, text: Callable[[Epoch], str]) -> Cells:
        return _cells(name, map(text, epochs))

    columns = [
        column("train loss", lambda e: f"{e.train_loss:.4f}"),
        column("val loss", lambda e: "" if e.val_loss is None else f"{e.val_loss:.4f}"),
        column(
            f"val {headline.called} {headline.printed_unit}",
            lambda e: "" if e.val_score is None else headline.number(e.val_score),
        ),
        column("learning rate", lambda e: f"{e.learning_rate:.4g}"),
        column("images/s", lambda e: f"{e.images_per_second:,.0f}"),
        column("seconds", lambda e: f"{e.seconds:.1f}"),
    ]
    return lay_out(_cells("  epoch", (f"  {e.number}" for e in epochs)), columns, width)


def _cells(header: str, cells: Iterator[str], *, left: bool = False) -> Cells:
    return Cells((header, ""), tuple(cells), header, left)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 and value == int(value) else f"{value:.6g}"


def _of(counts: dict[str, int]) -> str:
    return f"{counts.get('done', 0)} of {sum(counts.values())}"


def _run(run: Run) -> dict[str, Any]:
    return asdict(run)


def _record(record: Record) -> dict[str, Any]:
    table = asdict(record)
    if record.outcomes is not None:
        table["outcomes"]["data"] = len(record.outcomes.data)
    for measurement in table["measurements"]:
        samples = measurement.pop("samples")
        measurement["samples"] = len(samples)
        measurement["summary"] = asdict(summary(samples)) if samples else None
    return table


def _check_format(format: str) -> None:
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
