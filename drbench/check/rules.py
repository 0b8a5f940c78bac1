"""Limits and policies for unresolved figures, by metric and variant. If several rows match, the last one applies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from drbench.check import metrics as known
from drbench.check.baseline import chosen
from drbench.check.metrics import Metric
from drbench.check.verdicts import Verdict
from drbench.conditions import Conditions, differences, in_words
from drbench.errors import InputError
from drbench.figures import CLASSIFY, TaskFigures
from drbench.suite.tables import CheckTable, ThresholdTable

LEVEL = 0.99
"""Level of the two-sided intervals of all noisy comparisons of a check together: at most one false regression in 200
checks."""

POLICIES = ("warn", "fail")


@dataclass(frozen=True)
class Rule:
    """The rule for one metric of one variant; makes its verdicts.

    limit: None: the default of the metric.
    level: of the interval of this comparison.
    allowed: conditions that may differ. differs: those of them that do.
    """

    metric: Metric
    variant: str
    limit: float | None = None
    on_unresolved: str = "warn"
    level: float = LEVEL
    allowed: tuple[str, ...] = ()
    checkpoints: bool = False
    differs: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def bound(self) -> float:
        """The limit that applies."""
        return self.metric.limit if self.limit is None else self.limit

    def verdict(self, outcome: str, figure: str, text: str, **more: Any) -> Verdict:
        """The Verdict. Unresolved and refused ones fail only if `on_unresolved` is "fail"."""
        fails = outcome not in ("unresolved", "refused") or self.on_unresolved == "fail"
        fields = {"limit": self.bound, "allowed": self.differs, "declared": self.metric.figure, **more}
        return Verdict(self.metric.name, figure, self.variant, outcome, text, fails=fails, **fields)

    def compared(self, figure: str, before: Conditions, now: Conditions) -> Rule | Verdict:
        """The rule for the comparison, with the allowed differences; or a refusal that names both values."""
        different = differences(before, now)
        refused = {key: values for key, values in different.items() if key not in self.allowed}
        if refused:
            hint = " ".join(f"--allow-different {key}" for key in refused)
            return self.verdict("refused", figure, f"not comparable: {in_words(refused)} ({hint} compares anyway)")
        return replace(self, differs=tuple(sorted(different)))


@dataclass(frozen=True)
class Rules:
    """The suite's [check] table with the options of the command line. `task`: the task that declares the metrics."""

    metrics: tuple[str, ...]
    on_unresolved: str = "warn"
    thresholds: tuple[ThresholdTable, ...] = ()
    allowed: tuple[str, ...] = ()
    checkpoints: bool = False
    task: TaskFigures = CLASSIFY

    def of_task(self, task: TaskFigures) -> Rules:
        """The same rules for a task. InputError if it does not have one of the metrics."""
        known.check([row.metric for row in self.thresholds], task)
        return replace(self, metrics=known.check(self.metrics, task), task=task)

    def rule(self, metric: str, variant: str, level: float = LEVEL) -> Rule:
        """The rule for one metric of one variant."""
        limit: float | None = None
        policy = self.on_unresolved
        for row in self.thresholds:
            if row.metric == metric and chosen(variant, (row.variants,)):
                limit = limit if row.limit is None else row.limit
                policy = row.on_unresolved or policy
        resolved = known.of_task(self.task)[metric]
        return Rule(resolved, variant, limit, policy, level, self.allowed, self.checkpoints)


def rules(
    table: CheckTable,
    *,
    metrics: Sequence[str] = (),
    limits: Iterable[str] = (),
    on_unresolved: Iterable[str] = (),
    allowed: Iterable[str] = (),
    checkpoints: bool = False,
) -> Rules:
    """The table, overridden by options: `latency=0.03`, `latency:GLOB=0.05`; `fail`, `latency=fail`.

    InputError for a wrong option. `Rules.of_task` checks the names of metrics later, because they depend on the task.
    """
    rows = [*table.thresholds, *(_threshold(text) for text in limits)]
    policy: str = table.on_unresolved
    for text in on_unresolved:
        metric, equals, word = text.rpartition("=")
        if word not in POLICIES:
            raise InputError(f"--on-unresolved: got {text!r}; expected warn or fail, such as fail or latency=fail")
        if equals:
            rows.append(ThresholdTable.model_validate({"metric": metric, "on_unresolved": word}))
        else:
            policy = word
            rows = [row.model_copy(update={"on_unresolved": None}) for row in rows]
    return Rules(tuple(metrics) or table.metrics, policy, tuple(rows), tuple(allowed), checkpoints)


def _threshold(text: str) -> ThresholdTable:
    """The row for METRIC=SHARE or METRIC:GLOB=SHARE."""
    where, _, number = text.rpartition("=")
    metric, _, glob = where.partition(":")
    try:
        share = float(number)
    except ValueError:
        share = -1.0
    if not where or not 0 <= share < float("inf"):
        raise InputError(
            f"--limit: got {text!r}; expected METRIC=SHARE, such as latency=0.03 or 'latency:mobilenet*=0.05'"
        )
    return ThresholdTable.model_validate({"metric": metric, "variants": glob or "*", "limit": share})
