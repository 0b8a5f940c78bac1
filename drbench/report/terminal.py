"""A report for a terminal: as many columns as fit side by side, in colour if supported."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from drbench.report import ops_text
from drbench.report.cells import name_cells, published_cells, table_cells
from drbench.report.columns import Column, choose, of_table
from drbench.report.layout import lay_out
from drbench.report.model import Report
from drbench.report.ops import OpsTable
from drbench.report.wording import PUBLISHED, caption, notes, sources, title
from drbench.text import printable, safe


def as_terminal(report: Report, columns: Sequence[Column] | None, width: int, color: bool) -> str:
    """The tables, then published figures, then the meaning of the columns."""
    page = Page(width, color)
    shown: dict[Column, None] = {}
    for table in report.tables:
        own = of_table(columns, table) if columns is not None else choose([table], None)
        shown |= dict.fromkeys(own)
        first, *more = title(table, report.tables)
        page.text(first, "bold cyan")
        for line in more:
            page.text(line, "dim")
        page.lines(
            lay_out(name_cells(table), table_cells(table, own), width, strong=[r.kind == "plain" for r in table.rows])
        )
        for line in notes(table):
            page.text(line, "yellow")
        page.text("")
    if report.published and columns is None:
        page.text(PUBLISHED, "bold cyan")
        page.lines(lay_out(*published_cells(report.published), width))
        for line in sources(report.published):
            page.text(line, "dim")
        page.text("")
    for line in caption(report, list(shown)):
        page.text(line, "dim")
    for ops in report.ops:
        _operators(page, ops, width)
    for line in ops_text.MEANINGS if report.ops else ():
        page.text(f"{line}.", "dim")
    return page.done()


def _operators(page: Page, table: OpsTable, width: int) -> None:
    first, *more = ops_text.title(table)
    page.text(first, "bold cyan")
    for line in more:
        page.text(line, "dim")
    for case in table.cases:
        page.text("")
        page.text(ops_text.heading(case), "bold")
        strong = [False] * len(table.shapes) + [True]
        page.lines(lay_out(*ops_text.cells(table, case, all_quartiles=False), width, strong=strong))
    for line in ops_text.notes(table):
        page.text(line, "yellow")
    page.text("")


class Page:
    """Collects lines for a terminal of a given width as text. Wraps sentences, but not tables."""

    def __init__(self, width: int, color: bool) -> None:
        self._out = io.StringIO()
        self._console = Console(
            file=self._out,
            width=width,
            force_terminal=color,
            color_system="standard" if color else None,
            no_color=not color,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )

    def text(self, text: str, style: str = "") -> None:
        """Add a sentence, made printable and wrapped between words."""
        for line in Text(printable(text), style=style).wrap(self._console, self._console.width):
            line.rstrip()
            self._console.print(line, soft_wrap=True)

    def lines(self, lines: Sequence[Text]) -> None:
        """Add lines without a change."""
        self._console.print(Text("\n").join(lines), soft_wrap=True)

    def done(self) -> str:
        """The whole text, with a line break at the end."""
        return safe(self._out.getvalue())
