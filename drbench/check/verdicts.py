"""The verdicts of a check, one per figure, and the exit code that follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drbench.errors import DONE, FAILED, NOTHING, REGRESSION, UNRESOLVED
from drbench.figures import Figure

OUTCOMES = ("failed", "regression", "vanished", "unresolved", "refused", "new", "improvement", "held")
"""In order, worst first. failed: did not run. vanished, new: on one side only. refused: not comparable."""

_CODES: Mapping[str, int] = {
    "failed": FAILED,
    "regression": REGRESSION,
    "vanished": REGRESSION,
    "unresolved": UNRESOLVED,
    "refused": UNRESOLVED,
}
_ORDER = (FAILED, REGRESSION, NOTHING, UNRESOLVED, DONE)


@dataclass(frozen=True)
class Verdict:
    """The verdict on one figure of one variant.

    variant: architecture/label.
    effect: what was judged: a ratio (1.02 is 2% more), or a difference for a figure of a task.
    interval: of `effect`.
    fails: whether it counts for the exit code; an unresolved or refused verdict may only warn.
    allowed: conditions that differ and were allowed to differ.
    declared: the figure, if it is one of a task.
    """

    metric: str
    figure: str
    variant: str
    outcome: str
    text: str
    unit: str = ""
    before: float | None = None
    now: float | None = None
    effect: float | None = None
    interval: tuple[float, float] | None = None
    limit: float | None = None
    layer: str = ""
    fails: bool = True
    allowed: tuple[str, ...] = ()
    declared: Figure | None = None


@dataclass(frozen=True)
class Checked:
    """The result of a check of `run` (an id) of `suite` against `reference` (a baseline file, a run, a commit)."""

    suite: str
    run: str
    reference: str
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """The exit code by the table in docs/architecture.md; 3 if nothing could be compared."""
        codes = {_CODES.get(v.outcome, DONE) for v in self.verdicts if v.fails}
        if not any(v.outcome not in ("refused", "new") for v in self.verdicts):
            codes.add(NOTHING)
        return next(code for code in _ORDER if code in codes or code == DONE)
