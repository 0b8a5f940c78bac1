"""A report as GitHub-flavoured markdown."""

from __future__ import annotations

from collections.abc import Sequence

from drbench.report import ops_text
from drbench.report.cells import name_cells, published_cells, table_cells
from drbench.report.columns import Column, choose, of_table
from drbench.report.layout import Cells
from drbench.report.model import Report
from drbench.report.ops import OpsTable
from drbench.report.wording import PUBLISHED, caption, notes, sources, title
from drbench.text import LINE, markdown


def as_markdown(report: Report, columns: Sequence[Column] | None, width: int, color: bool) -> str:
    """The tables of the terminal, not split into blocks. `width` and `color` are unused."""
    parts: list[str] = []
    shown: dict[Column, None] = {}
    for table in report.tables:
        own = of_table(columns, table) if columns is not None else choose([table], None)
        shown |= dict.fromkeys(own)
        first, *more = title(table, report.tables)
        parts += [f"## {_escaped(first)}", "  \n".join(map(_escaped, more))]
        parts.append(_table([name_cells(table), *table_cells(table, own)]))
        parts += [f"> {_escaped(line)}" for line in notes(table)]
    if report.published and columns is None:
        heading, _, explanation = PUBLISHED.partition(", marked as such, ")
        first_cells, more_cells = published_cells(report.published)
        parts += [f"## {heading}", _escaped(explanation) + ".", _table([first_cells, *more_cells])]
        parts.append("  \n".join(map(_escaped, sources(report.published))))
    parts.append("\n".join(f"- {_escaped(line)}" for line in caption(report, list(shown))))
    for ops in report.ops:
        parts += _operators(ops)
    parts.append("\n".join(f"- {_escaped(line)}." for line in ops_text.MEANINGS if report.ops))
    return "\n\n".join(part for part in parts if part) + "\n"


def _operators(table: OpsTable) -> list[str]:
    first, *more = ops_text.title(table)
    parts = [f"## {_escaped(first)}", "  \n".join(map(_escaped, more))]
    for case in table.cases:
        name, columns = ops_text.cells(table, case, all_quartiles=True)
        parts += [f"### {_escaped(ops_text.heading(case))}", _table([name, *columns])]
    return [*parts, *(f"> {_escaped(line)}" for line in ops_text.notes(table))]


def _table(columns: Sequence[Cells]) -> str:
    header = [markdown(" ".join(part for part in column.header if part)) for column in columns]
    rule = [":--" if column.left else "--:" for column in columns]
    rows = zip(*(column.cells for column in columns), strict=True)
    lines = [header, rule, *([_indented(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _indented(text: str) -> str:
    """Replace leading blanks, which markdown would remove."""
    return ("&nbsp;&nbsp;" if text.startswith("  ") else "") + markdown(text.strip())


def _escaped(text: str) -> str:
    return markdown(text, LINE)
