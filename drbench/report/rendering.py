"""A report as text: for the terminal, markdown, csv or json. Equal results give equal bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

import pandas as pd
from drbench_db.store import pick

from drbench.errors import unknown
from drbench.report.build import build
from drbench.report.columns import Column, choose, find, known
from drbench.report.data import as_csv, as_json
from drbench.report.frame import load_rows, warn
from drbench.report.gather import names_of
from drbench.report.markdown import as_markdown
from drbench.report.model import Report, Row
from drbench.report.ops import ops_tables
from drbench.report.terminal import as_terminal

if TYPE_CHECKING:
    from drbench_db import Store

Renderer = Callable[[Report, Sequence[Column] | None, int, bool], str]

FORMATS: Mapping[str, Renderer] = {
    "terminal": as_terminal,
    "md": as_markdown,
    "csv": as_csv,
    "json": as_json,
}
"""Name -> (report, columns or None for the default ones, width, colour) -> text."""


def render(
    results: pd.DataFrame | Store | str | os.PathLike[str] | None = None,
    *,
    format: str = "terminal",
    columns: Sequence[str] | None = None,
    sort: str | None = None,
    suite: str | None = None,
    run: str | None = None,
    latest: bool = False,
    width: int | None = None,
    color: bool = False,
) -> str:
    """The report of a database (an open Store, a path, a URL, None for the default) or of a frame from `load`, as text.

    Args:
        results: the source of the figures. The report of a frame has no operator benchmark.
        format: one of FORMATS.
        columns: keys of the columns, in this order.
        sort: a column by which to sort variants within an architecture, and architectures by their plain row; "-madds"
            for the largest first.
        suite: only the runs of this suite.
        run: only this run (an id or the beginning of one, or "latest").
        latest: only the newest run.
        width: of the terminal, in characters; None: 120.
        color: whether text for the terminal has colours (ANSI escapes).

    Raises:
        InputError: an unknown format, column, suite or run, or no readable database.
        NothingError: there are no results.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    report = _report(results, suite, "latest" if latest else run)
    if sort is not None:
        report = _sorted(report, sort)
    chosen = choose(report.tables, columns) if columns is not None else None
    return FORMATS[format](report, chosen, width or 120, color)


def _report(
    results: pd.DataFrame | Store | str | os.PathLike[str] | None, suite: str | None, run: str | None
) -> Report:
    from drbench_db import Store

    if isinstance(results, pd.DataFrame):
        return build(_of_frame(results, suite, run))
    if isinstance(results, Store):
        return _of_store(results, suite, run)
    with Store.open(results, write=False) as store:
        report = _of_store(store, suite, run)
        warn(store)
        return report


def _of_store(store: Store, suite: str | None, run: str | None) -> Report:
    runs = store.runs()
    if suite is not None and runs:
        _check_suite(suite, {other.suite for other in runs})
        if run == "latest":
            run = next(other.id for other in runs if other.suite == suite)
    if run is not None:
        run = store.run(run).id
    frame = load_rows(store, run, suite, names_of)
    return build(frame, ops_tables(store, run=run, suite=suite))


def _of_frame(frame: pd.DataFrame, suite: str | None, run: str | None) -> pd.DataFrame:
    if suite is not None:
        _check_suite(suite, set(frame["suite"].unique()))
        frame = frame[frame["suite"] == suite]
    if run is not None and len(frame):
        runs = frame[["run", "run_started"]].drop_duplicates().sort_values(["run_started", "run"], ascending=False)
        frame = frame[frame["run"] == pick(list(runs["run"]), run)]
    return frame


def _check_suite(suite: str, suites: set[str]) -> None:
    if suite not in suites:
        raise unknown("suite", suite, suites, "These have results; see `drbench suites list` for all suites")


def _sorted(report: Report, name: str) -> Report:
    """Each table sorted by the main value of a column. Plain rows are first, rows without a value last."""
    descending, key = name.startswith("-"), name.removeprefix("-")
    fitting = find(known(report.tables), key)
    field = fitting[0].fields[0] if fitting else key

    def place(row: Row) -> tuple[bool, float, str]:
        value = row.values.get(field)
        if isinstance(value, str):
            return (False, 0.0, value)
        return (value is None, (-value if descending else value) if value is not None else 0.0, "")

    def order(rows: Sequence[Row]) -> tuple[Row, ...]:
        networks = [list(group) for _, group in groupby(rows, key=lambda row: row.architecture)]
        inside = [sorted(group, key=lambda row: (row.kind != "plain", *place(row))) for group in networks]
        if any(isinstance(row.values.get(field), str) for row in rows) and descending:
            inside = [[*group[:1], *reversed(group[1:])] for group in inside]
        return tuple(row for group in sorted(inside, key=lambda group: place(group[0])) for row in group)

    return replace(report, tables=tuple(replace(table, rows=order(table.rows)) for table in report.tables))
