"""A check for a terminal: what is worse first, variant by variant; what is exact and held is only counted."""

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
    """A table of `width` characters where names allow it, notes, and the exit code's meaning last."""
    page = Page(width, color)
    page.text(f"check of {wording.about(checked)}", "bold cyan")
    shown = _by_variant([verdict for verdict in wording.worst_first(checked.verdicts) if _worth_a_line(verdict)])
    if shown:
        _table(page, shown, width)
    unsaid = len(checked.verdicts) - len(shown)
    if unsaid:
        page.text(f"{unsaid} exact figure{'' if unsaid == 1 else 's'} held", "dim")
    for note in checked.notes:
        page.text(note, "yellow")
    page.text(wording.headline(checked), "bold green" if checked.exit_code == DONE else "bold red")
    return page.done()


def _worth_a_line(verdict: Verdict) -> bool:
    """A cost that held says no more than that; what was measured shows how sure it is."""
    return verdict.outcome != "held" or verdict.metric != "costs" or bool(verdict.allowed)


def _by_variant(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those of one variant together, where its worst one would stand."""
    place = {name: number for number, name in enumerate(dict.fromkeys(verdict.variant for verdict in verdicts))}
    return sorted(verdicts, key=lambda verdict: place[verdict.variant])


def _table(page: Page, verdicts: Sequence[Verdict], width: int) -> None:
    name = Cells(("", ""), tuple(f"{INDENT}{wording.figure(verdict)}" for verdict in verdicts), left=True)
    columns = [
        Cells(("before", ""), tuple(wording.value(verdict.before, verdict) for verdict in verdicts)),
        Cells(("now", ""), tuple(wording.value(verdict.now, verdict) for verdict in verdicts)),
        Cells(("change", ""), tuple(map(wording.change, verdicts))),
        Cells(("", ""), tuple(verdict.outcome for verdict in verdicts), left=True),
    ]
    # One block however wide, so that there is a line for every verdict.
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
        said = wording.explanation(verdict)
        if said and verdict.outcome != "held":
            page.lines([Text(f"{INDENT * 2}{line}", style="dim") for line in wrap(printable(said), max(width - 4, 20))])
