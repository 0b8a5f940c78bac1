"""Lays out tables as lines of text of a given width. Nothing is cut off: columns that do not fit form another block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len
from rich.text import Text

from drbench.text import CELL, printable

GAP = "  "


@dataclass(frozen=True)
class Cells:
    """One column as text: two header lines and a cell per row. Columns of one `topic` stay in one block if possible.

    Cells are made printable here, because labels may have any characters.
    """

    header: tuple[str, str]
    cells: tuple[str, ...]
    topic: str = ""
    left: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", tuple(printable(cell, CELL) for cell in self.cells))

    @property
    def width(self) -> int:
        """Width in terminal cells."""
        return max(map(cell_len, (*self.header, *self.cells)))


def lay_out(first: Cells, columns: Sequence[Cells], width: int, *, strong: Sequence[bool] = ()) -> list[Text]:
    """The lines of a table, at most `width` wide unless two columns need more. Rows marked `strong` are bold."""
    lines: list[Text] = []
    for block in _blocks(first, columns, width):
        if lines:
            lines.append(Text())
        lines += _block([first, *block], strong)
    return lines


def _blocks(first: Cells, columns: Sequence[Cells], width: int) -> list[list[Cells]]:
    room = width - first.width
    blocks: list[list[Cells]] = [[]]
    for _, group in groupby(columns, key=lambda column: column.topic):
        topic = list(group)
        if blocks[-1] and _span(blocks[-1]) + _span(topic) > room:
            blocks.append([])
        for column in topic:
            if blocks[-1] and _span([*blocks[-1], column]) > room:
                blocks.append([])
            blocks[-1].append(column)
    return blocks


def _span(columns: Sequence[Cells]) -> int:
    return sum(len(GAP) + column.width for column in columns)


def _block(columns: Sequence[Cells], strong: Sequence[bool]) -> list[Text]:
    widths = [column.width for column in columns]

    def line(texts: Sequence[str], style: str) -> Text:
        padded = (
            text + " " * (width - cell_len(text)) if column.left else " " * (width - cell_len(text)) + text
            for text, width, column in zip(texts, widths, columns, strict=True)
        )
        return Text(GAP.join(padded).rstrip(), style=style, no_wrap=True, overflow="ignore", end="\n")

    headers = [[column.header[part] for column in columns] for part in (0, 1)]
    lines = [line(header, "bold") for header in headers if any(header)]
    lines.append(Text(GAP.join("─" * width for width in widths), style="dim", no_wrap=True, overflow="ignore"))
    for number, texts in enumerate(zip(*(column.cells for column in columns), strict=True)):
        lines.append(line(texts, "bold" if strong and strong[number] else ""))
    return lines
