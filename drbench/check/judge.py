"""Facts now, facts before -> verdicts: metric by metric, variant by variant, with what only one side has."""

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
"""Metric of metrics.COMMON -> (before, now, rule) -> verdicts; figures of tasks are for `scores.judge`."""


def judge(
    before: Mapping[str, VariantFacts], now: Mapping[str, VariantFacts], rules: Rules
) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    """The verdicts, the worst first, and notes on how they were made.

    Every noisy comparison widens the intervals of all: together they hold with LEVEL.
    """
    noisy = sum(verdict.interval is not None for verdict in _all(before, now, rules, LEVEL))
    found = list(_all(before, now, rules, shared(LEVEL, noisy)))
    found.sort(key=lambda verdict: OUTCOMES.index(verdict.outcome))
    return tuple(found), tuple(_notes(found, noisy))


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
    was, found = (None if facts is None else facts.of(metric) for facts in (old, new))
    if was is not None and found is not None:
        yield from JUDGES.get(metric, scores.judge)(was, found, rule)
    elif was is not None:
        what = "the variant is gone" if new is None else f"its {metric} were not measured"
        yield rule.verdict("vanished", "", f"{what} (left out on purpose: --only, or drbench baseline remove)")
    elif found is not None:
        yield rule.verdict("new", "", "not in the reference (drbench baseline save adds it)")


def _notes(found: Sequence[Verdict], noisy: int) -> Iterator[str]:
    if noisy:
        each = f"s hold together with {LEVEL:.0%}, {shared(LEVEL, noisy):.3%} each (Bonferroni)"
        yield f"{noisy} noisy comparison{each if noisy > 1 else f' holds with {LEVEL:.0%}'}"
    if any(verdict.metric == "latency" and verdict.unit == "ratio" for verdict in found):
        yield "latency is the ratio to the plain network: slow-downs of both at once need --against GITREF"
