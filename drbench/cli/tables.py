"""Small tables for the terminal; `drbench report` has renderers of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from drbench.cli.output import write
from drbench.records import Record
from drbench.statistics.samples import in_millions
from drbench.text import CELL, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from drbench.published import Published

WIDTH = 140
"""Columns where the output is no terminal."""


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], text: int = 1) -> Table:
    """A table whose first `text` columns are words and the others figures."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    def shown(cell: object) -> Text:
        return Text("" if cell is None else printable(cell, CELL))  # a Text has no markup and no emoji

    made = Table(title=shown(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        made.add_column(shown(name), justify="left" if number < text else "right", overflow="fold")
    for row in rows:
        made.add_row(*map(shown, row))
    return made


def show(what: Any, console: Console | None = None) -> None:
    """Print a table to stdout, or into a console that is in use."""
    if console is not None:
        console.print(what)
        return
    from rich.console import Console

    width = None if sys.stdout.isatty() else WIDTH
    console = Console(markup=False, highlight=False, width=width)
    with console.capture() as text:
        console.print(what)
    write(text.get())


def millions(value: float | None) -> str:
    """1234567 as 1.23; nothing for nothing."""
    return "" if value is None else in_millions(value)


def cost_table(records: Sequence[Record], references: Sequence[Published] = ()) -> Table:
    """What each variant costs, and what published networks of the same architecture are said to."""
    rows: list[tuple[object, ...]] = []
    for record in records:
        found = {m.name: m.value for m in record.measurements if not m.part}
        note = record.error if record.status != "done" else "; ".join(record.notes)
        figures = [millions(found.get(name)) for name in ("madds", "executed", "params")]
        rows.append((record.variant.architecture, record.label, note, *figures))
    for row in references:
        if row.madds_m or row.params_m:
            note = f"published, {row.input_px} px: {row.source}"
            rows.append((row.model, row.operator, note, row.madds_m, "", row.params_m))
    shape = "x".join(map(str, records[0].variant.input_shape))
    columns = ("architecture", "variant", "note", "multiply-adds", "executed", "params")
    return table(f"Cost at {shape}, in millions", columns, rows, 3)
