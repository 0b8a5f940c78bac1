"""Rows and columns -> the text in the cells of a table, for the terminal and for markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from drbench.published import DEVIATION_LIMIT
from drbench.records import PLAIN
from drbench.report.columns import Column
from drbench.report.layout import Cells
from drbench.report.model import Row, Table
from drbench.report.values import Values, millions, percent, relative
from drbench.report.wording import source_numbers


def names(rows: Sequence[Row]) -> Iterator[str]:
    """The names of rows: the architecture for its plain row, indented labels for the others.

    If an architecture has no plain row, its name is in the first row.
    """
    before = None
    for row in rows:
        new = row.architecture != before
        before = row.architecture
        bad = "" if row.values.get("status") == "done" else f" ({row.values.get('status')})"
        if row.kind == "plain" and new:
            yield (row.architecture if row.label == PLAIN else f"{row.architecture} {row.label}") + bad
        else:
            yield (f"{row.architecture} {row.label}" if new else f"  {row.label}") + bad


def name_cells(table: Table) -> Cells:
    """The first column: the names of the rows."""
    return Cells(("network", ""), tuple(names(table.rows)), left=True)


def table_cells(table: Table, columns: Sequence[Column]) -> list[Cells]:
    """The other columns."""
    return [
        Cells(
            column.header,
            tuple(column.text(row.values) for row in table.rows),
            column.topic,
            left=column.key in ("status", "operator", "recipe"),
        )
        for column in columns
    ]


def published_cells(rows: Sequence[Row]) -> tuple[Cells, list[Cells]]:
    """First and other columns of the table of published figures and drbench's counts."""
    numbers = source_numbers(rows)
    first = Cells(("published", "network"), tuple(f"{row.architecture} {row.label}" for row in rows), left=True)

    def cells(topic: str, header: tuple[str, str], texts: Iterator[str], *, left: bool = False) -> Cells:
        return Cells(header, tuple(texts), topic, left)

    columns = [
        cells(
            name,
            header,
            (text(row.values) for row in rows),
        )
        for name, prefix, unit in (("madds", "MAdds", "M"), ("params", "params", "M"))
        for header, text in (
            ((prefix, unit), partial(_figure, f"published_{name}")),
            (("ours", unit), partial(_figure, f"counted_{name}")),
            (("deviation", "%"), partial(_deviation, f"{name}_deviation")),
        )
    ]
    columns.append(cells("top1", ("top-1", "%"), (_top1(row.values) for row in rows)))
    columns.append(cells("about", ("data", ""), (str(row.values["published_data"]) for row in rows), left=True))
    columns.append(
        cells("about", ("compared", "with"), (str(row.values.get("counted", "")) for row in rows), left=True)
    )
    columns.append(
        cells("about", ("source", ""), (f"[{numbers[str(row.values['source'])]}]" for row in rows), left=True)
    )
    return first, columns


def _figure(name: str, values: Values) -> str:
    return millions(name, values) if name in values else ""


def _top1(values: Values) -> str:
    return percent("published_top1", values) if "published_top1" in values else ""


def _deviation(name: str, values: Values) -> str:
    value = values.get(name)
    mark = " !" if isinstance(value, float) and abs(value) > DEVIATION_LIMIT else "  "
    text = relative(name, values)
    return text + mark if text else ""
