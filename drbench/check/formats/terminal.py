"""A check for a terminal: by variant, worst first. Exact figures that held are only counted."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from rich.text import Text

from drbench.check.formats import wording
from drbench.check.verdicts import Checked, Verdict
from drbench.errors import DONE
from drbench.report.layout import Cells, lay_out
from drbench.report.terminal import Page
from drbench.text import CELL, printable

_STYLES = {
    "failed": "bold red",
    "regression": "bold red",
    "vanished": "bold red",
    "unresolved": "yellow",
    "refused": "yellow",
    "new": "yellow",
    "improvement": "green",
}
INDENT = "  "


def as_terminal(checked: Checked, width: int, color: bool) -> str:
    """A table of `width` characters (wider for long names), notes, and the meaning of the exit code."""
    page = Page(width, color)
    page.text(f"check of {wording.about(checked)}", "bold cyan")
    shown = _by_variant([verdict for verdict in wording.worst_first(checked.verdicts) if _worth_a_line(verdict)])
    if shown:
        _table(page, shown, width)
    hidden = len(checked.verdicts) - len(shown)
    if hidden:
        page.text(f"{hidden} exact figure{'' if hidden == 1 else 's'} held", "dim")
    for note in checked.notes:
        page.text(note, "yellow")
    page.text(wording.headline(checked), "bold green" if checked.exit_code == DONE else "bold red")
    return page.done()


def _worth_a_line(verdict: Verdict) -> bool:
    """Whether a verdict has a line of its own. Costs that held have none; measured figures show their intervals."""
    return verdict.outcome != "held" or verdict.metric != "costs" or bool(verdict.allowed)


def _by_variant(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Group verdicts by variant. A group is at the position of its worst verdict."""
    position = {name: number for number, name in enumerate(dict.fromkeys(verdict.variant for verdict in verdicts))}
    return sorted(verdicts, key=lambda verdict: position[verdict.variant])


def _table(page: Page, verdicts: Sequence[Verdict], width: int) -> None:
    name = Cells(("", ""), tuple(f"{INDENT}{wording.figure(verdict)}" for verdict in verdicts), left=True)
    columns = [
        Cells(("before", ""), tuple(wording.value(verdict.before, verdict) for verdict in verdicts)),
        Cells(("now", ""), tuple(wording.value(verdict.now, verdict) for verdict in verdicts)),
        Cells(("change", ""), tuple(map(wording.change, verdicts))),
        Cells(("", ""), tuple(verdict.outcome for verdict in verdicts), left=True),
    ]
    # A single block of columns, whatever its width, so that each verdict has one line.
    lines = lay_out(name, [column for column in columns if any(column.cells)], 1_000_000)
    head, rows = lines[: -len(verdicts)], lines[-len(verdicts) :]
    page.lines(head)
    variant = None
    for verdict, row in zip(verdicts, rows, strict=True):
        if verdict.variant != variant:
            variant = verdict.variant
            page.text(printable(variant, CELL), "bold")
        row.stylize(_STYLES.get(verdict.outcome, ""))
        page.lines([row])
        explanation = wording.explanation(verdict)
        if explanation and verdict.outcome != "held":
            page.lines(
                [Text(f"{INDENT * 2}{line}", style="dim") for line in wrap(printable(explanation), max(width - 4, 20))]
            )
