"""Facts before and now -> verdicts, by metric and variant, including variants that only one side has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from drbench.check import costs, ratios, scores
from drbench.check.facts import VariantFacts
from drbench.check.rules import LEVEL, Rule, Rules
from drbench.check.verdicts import OUTCOMES, Verdict
from drbench.statistics.ratios import shared

JUDGES: Mapping[str, Callable[[Any, Any, Rule], Iterator[Verdict]]] = {
    "costs": costs.judge,
    "latency": ratios.latency,
    "memory": ratios.memory,
}
"""Metric of metrics.COMMON -> (before, now, rule) -> verdicts; `scores.judge` is for figures of tasks."""


def judge(
    before: Mapping[str, VariantFacts], now: Mapping[str, VariantFacts], rules: Rules
) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    """The verdicts, worst first, and notes on the method.

    All intervals hold together with LEVEL, so they are wider with more noisy comparisons.
    """
    noisy = sum(verdict.interval is not None for verdict in _all(before, now, rules, LEVEL))
    verdicts = list(_all(before, now, rules, shared(LEVEL, noisy)))
    verdicts.sort(key=lambda verdict: OUTCOMES.index(verdict.outcome))
    return tuple(verdicts), tuple(_notes(verdicts, noisy))


def _all(
    before: Mapping[str, VariantFacts], now: Mapping[str, VariantFacts], rules: Rules, level: float
) -> Iterator[Verdict]:
    for metric in rules.metrics:
        for variant in [*before, *(name for name in now if name not in before)]:
            rule = rules.rule(metric, variant, level)
            old, new = before.get(variant), now.get(variant)
            yield from _one(old, new, rule)


def _one(old: VariantFacts | None, new: VariantFacts | None, rule: Rule) -> Iterator[Verdict]:
    if new is not None and rule.metric.name in new.failed:
        yield rule.verdict("failed", "", new.failed[rule.metric.name])
        return
    metric = rule.metric.name
    before, now = (None if facts is None else facts.of(metric) for facts in (old, new))
    if before is not None and now is not None:
        yield from JUDGES.get(metric, scores.judge)(before, now, rule)
    elif before is not None:
        reason = "the run does not have the variant" if new is None else f"the run has no {metric} of it"
        yield rule.verdict("vanished", "", f"{reason} (if intended: --only, or drbench baseline remove)")
    elif now is not None:
        yield rule.verdict("new", "", "not in the reference (drbench baseline save adds it)")


def _notes(verdicts: Sequence[Verdict], noisy: int) -> Iterator[str]:
    if noisy:
        each = f"s hold together with {LEVEL:.0%}, {shared(LEVEL, noisy):.3%} each (Bonferroni)"
        yield f"{noisy} noisy comparison{each if noisy > 1 else f' holds with {LEVEL:.0%}'}"
    if any(verdict.metric == "latency" and verdict.unit == "ratio" for verdict in verdicts):
        yield "latency is the ratio to the plain network: use --against GITREF to detect slowdowns of both"
