"""What a check found, figure by figure, and the exit code that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drbench.errors import DONE, FAILED, NOTHING, REGRESSION, UNRESOLVED
from drbench.figures import Figure

OUTCOMES = ("failed", "regression", "vanished", "unresolved", "refused", "new", "improvement", "held")
"""The worst first. failed: did not run. vanished, new: in only one of the two. refused: not comparable."""

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
    """One figure of one variant. Ratios and intervals are shares: 1.02 is 2% more.

    `variant` is architecture/label. `declared`: the figure, where it is one of a task. `interval` belongs to `effect`,
    what was judged: a ratio, or of a task's figure a difference. `fails`: whether it counts for the exit code (an
    unresolved or refused one may only warn). `allowed`: conditions that differ and were allowed to.
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
    """A whole check: of `run` (an id) of `suite`, against `reference` (a baseline file, a run, a commit)."""

    suite: str
    run: str
    reference: str
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """By the table of docs/architecture.md; nothing that could be compared is 3."""
        found = {_CODES.get(v.outcome, DONE) for v in self.verdicts if v.fails}
        if not any(v.outcome not in ("refused", "new") for v in self.verdicts):
            found.add(NOTHING)
        return next(code for code in _ORDER if code in found or code == DONE)
