"""A check as GitHub workflow commands: annotations without a token, which also work for pull requests of forks."""

from __future__ import annotations

from drbench.check.formats import wording
from drbench.check.verdicts import Checked, Verdict
from drbench.text import CELL, LINE, printable

MOST = 10
"""Maximum number of annotations of one kind that GitHub shows per step."""


def as_annotations(checked: Checked, width: int, color: bool) -> str:
    """An error for every figure that counts for the exit code, a warning or notice for others that did not hold.

    The last line is a summary of the check as plain text.
    """
    annotations: dict[str, list[tuple[str, str]]] = {"error": [], "warning": [], "notice": []}
    for verdict in wording.worst_first(checked.verdicts):
        if verdict.outcome != "held":
            title = f"drbench: {verdict.outcome} of {wording.figure(verdict)}"
            annotations[_kind(verdict)].append((title, _message(verdict)))
    lines = []
    for kind, entries in annotations.items():
        if len(entries) > MOST:
            rest = f"and {len(entries) - MOST + 1} more, see the summary"
            entries = [*entries[: MOST - 1], ("drbench", rest)]
        lines += [f"::{kind} title={_property(title)}::{_data(message)}" for title, message in entries]
    return "\n".join([*lines, wording.headline(checked)]) + "\n"


def _kind(verdict: Verdict) -> str:
    if wording.passed(verdict):
        return "notice"
    counts = verdict.fails and verdict.outcome not in ("new", "refused")
    return "error" if counts else "notice" if verdict.outcome == "new" else "warning"


def _message(verdict: Verdict) -> str:
    parts = (wording.figures(verdict), wording.explanation(verdict))
    return f"{verdict.variant}: {'; '.join(part for part in parts if part)}"


def _data(text: str) -> str:
    """Text on one line, because a line break would end the command."""
    return printable(text, LINE).replace("%", "%25")


def _property(text: str) -> str:
    return printable(text, CELL).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
