"""A check as GitHub workflow commands: annotations that need no token, so that they work for a fork's pull request."""

from __future__ import annotations

from drbench.check.formats import wording
from drbench.check.verdicts import Checked, Verdict
from drbench.text import CELL, LINE, printable

MOST = 10
"""Annotations of one kind that GitHub shows of a step."""


def as_annotations(checked: Checked, width: int, color: bool) -> str:
    """An error for every figure that counts for the exit code, a warning or notice for the others that did not hold,
    then the whole check in one plain line.
    """
    found: dict[str, list[tuple[str, str]]] = {"error": [], "warning": [], "notice": []}
    for verdict in wording.worst_first(checked.verdicts):
        if verdict.outcome != "held":
            title = f"drbench: {verdict.outcome} of {wording.figure(verdict)}"
            found[_kind(verdict)].append((title, _message(verdict)))
    lines = []
    for kind, those in found.items():
        if len(those) > MOST:
            rest = f"and {len(those) - MOST + 1} more like these; the summary lists them"
            those = [*those[: MOST - 1], ("drbench", rest)]
        lines += [f"::{kind} title={_property(title)}::{_data(message)}" for title, message in those]
    return "\n".join([*lines, wording.headline(checked)]) + "\n"


def _kind(verdict: Verdict) -> str:
    if wording.passed(verdict):
        return "notice"
    counts = verdict.fails and verdict.outcome not in ("new", "refused")
    return "error" if counts else "notice" if verdict.outcome == "new" else "warning"


def _message(verdict: Verdict) -> str:
    said = (wording.figures(verdict), wording.explanation(verdict))
    return f"{verdict.variant}: {'; '.join(part for part in said if part)}"


def _data(text: str) -> str:
    """One line: a line break would end the command."""
    return printable(text, LINE).replace("%", "%25")


def _property(text: str) -> str:
    return printable(text, CELL).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
