"""How much worse a figure may be, and what an unresolved one counts for: by metric and variant; the last row wins."""

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
"""Of two-sided intervals, all noisy comparisons of a check together: one false regression in 200 checks at most."""

POLICIES = ("warn", "fail")


@dataclass(frozen=True)
class Rule:
    """What a verdict on one metric of one variant goes by; makes the verdict.

    `limit` None: the metric's own. `level`: of this comparison's interval. `allowed`: fields that may differ.
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
        """The limit that holds."""
        return self.metric.limit if self.limit is None else self.limit

    def verdict(self, outcome: str, figure: str, text: str, **more: Any) -> Verdict:
        """The Verdict; unresolved and refused ones fail only where that was asked for."""
        fails = outcome not in ("unresolved", "refused") or self.on_unresolved == "fail"
        about = {"limit": self.bound, "allowed": self.differs, "declared": self.metric.figure, **more}
        return Verdict(self.metric.name, figure, self.variant, outcome, text, fails=fails, **about)

    def compared(self, figure: str, before: Conditions, now: Conditions) -> Rule | Verdict:
        """The rule to go on with, which names what was allowed to differ; or the refusal, with both values."""
        found = differences(before, now)
        refused = {key: values for key, values in found.items() if key not in self.allowed}
        if refused:
            hint = " ".join(f"--allow-different {key}" for key in refused)
            return self.verdict("refused", figure, f"not comparable: {in_words(refused)} ({hint} compares anyway)")
        return replace(self, differs=tuple(sorted(found)))


@dataclass(frozen=True)
class Rules:
    """The suite's [check] table, and the command line's say over it. `task`: whose figures the metrics are."""

    metrics: tuple[str, ...]
    on_unresolved: str = "warn"
    thresholds: tuple[ThresholdTable, ...] = ()
    allowed: tuple[str, ...] = ()
    checkpoints: bool = False
    task: TaskFigures = CLASSIFY

    def of_task(self, task: TaskFigures) -> Rules:
        """The same for a task. InputError where it does not have one of the metrics."""
        known.check([row.metric for row in self.thresholds], task)
        return replace(self, metrics=known.check(self.metrics, task), task=task)

    def rule(self, metric: str, variant: str, level: float = LEVEL) -> Rule:
        """Of one metric of one variant."""
        limit: float | None = None
        policy = self.on_unresolved
        for row in self.thresholds:
            if row.metric == metric and chosen(variant, (row.variants,)):
                limit = limit if row.limit is None else row.limit
                policy = row.on_unresolved or policy
        of = known.of_task(self.task)[metric]
        return Rule(of, variant, limit, policy, level, self.allowed, self.checkpoints)


def rules(
    table: CheckTable,
    *,
    metrics: Sequence[str] = (),
    limits: Iterable[str] = (),
    on_unresolved: Iterable[str] = (),
    allowed: Iterable[str] = (),
    checkpoints: bool = False,
) -> Rules:
    """The table with the options over it: `latency=0.03`, `latency:GLOB=0.05`; `fail`, `latency=fail`. InputError.

    The names of metrics are checked later, by `Rules.of_task`, because they depend on the task.
    """
    rows = [*table.thresholds, *(_threshold(text) for text in limits)]
    policy: str = table.on_unresolved
    for text in on_unresolved:
        metric, equals, word = text.rpartition("=")
        if word not in POLICIES:
            raise InputError(f"--on-unresolved {text!r}: {word!r} should be warn or fail, as in fail or latency=fail")
        if equals:
            rows.append(ThresholdTable.model_validate({"metric": metric, "on_unresolved": word}))
        else:
            policy = word
            rows = [row.model_copy(update={"on_unresolved": None}) for row in rows]
    return Rules(tuple(metrics) or table.metrics, policy, tuple(rows), tuple(allowed), checkpoints)


def _threshold(text: str) -> ThresholdTable:
    """The row that METRIC=SHARE or METRIC:GLOB=SHARE says."""
    where, _, number = text.rpartition("=")
    metric, _, glob = where.partition(":")
    try:
        share = float(number)
    except ValueError:
        share = -1.0
    if not where or not 0 <= share < float("inf"):
        raise InputError(f"--limit {text!r}: METRIC=SHARE is wanted, as in latency=0.03 or 'latency:mobilenet*=0.05'")
    return ThresholdTable.model_validate({"metric": metric, "variants": glob or "*", "limit": share})
