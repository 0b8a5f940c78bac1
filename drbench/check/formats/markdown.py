"""A check as GitHub-flavoured markdown: for a step summary, or a comment on a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from drbench.check.formats import wording
from drbench.check.verdicts import Checked, Verdict
from drbench.text import LINE, markdown

MOST_ROWS = 100
"""Maximum number of rows of a table: a comment may have at most 65,536 characters."""


def as_markdown(checked: Checked, width: int, color: bool) -> str:
    """A table of the figures that did not hold, and a folded table of the others. `width` and `color` are unused."""
    ordered = wording.worst_first(checked.verdicts)
    open_, held = ([v for v in ordered if wording.passed(v) is passed] for passed in (False, True))
    improved = any(verdict.outcome == "improvement" for verdict in held)
    parts = [f"## drbench: {_escaped(wording.headline(checked))}", _escaped(wording.about(checked))]
    if open_:
        parts.append(_table(open_))
    parts += [f"> {_escaped(note)}" for note in checked.notes]
    if held:
        summary = f"{len(held)} held" + (", some better" if improved else "")
        parts.append(f"<details><summary>{summary}</summary>\n\n{_table(held)}\n\n</details>")
    return "\n\n".join(parts) + "\n"


def _table(verdicts: Sequence[Verdict]) -> str:
    lines = ["| variant | figure | before | now | change | verdict | |", "| :-- | :-- | --: | --: | --: | :-- | :-- |"]
    lines += [_row(verdict) for verdict in verdicts[:MOST_ROWS]]
    left = len(verdicts) - MOST_ROWS
    return "\n".join(lines) + (f"\n\nand {left} more" if left > 0 else "")


def _row(verdict: Verdict) -> str:
    cells = [
        markdown(verdict.variant),
        _escaped(wording.figure(verdict)),
        _escaped(wording.value(verdict.before, verdict)),
        _escaped(wording.value(verdict.now, verdict)),
        _escaped(wording.change(verdict)),
        verdict.outcome if wording.passed(verdict) else f"**{verdict.outcome}**",
        _escaped(wording.explanation(verdict)),
    ]
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return markdown(text, LINE)
