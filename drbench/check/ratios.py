"""Verdicts on latency and memory: the change as a ratio, with an interval if there is more than one process.

Latency is compared as the ratio to the plain network, which is measured in alternation with the variant: a file shows
only how that ratio changed. A change of the times themselves needs both versions of the code (see `drbench.against`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from drbench.check.facts import Latency, Memory, Peak, Ratio
from drbench.check.rules import Rule
from drbench.check.verdicts import Verdict
from drbench.statistics.ratios import Interval, decide, ratio_interval, ratio_of_ratios

HOST_SLACK = 2**19
"""Host memory in bytes that is within chance: runs of one network differ by up to 0.2 MiB (docs/isolation.md)."""


def latency(before: Latency, now: Latency, rule: Rule) -> Iterator[Verdict]:
    """One verdict per batch size."""
    old, new = ({ratio.batch: ratio for ratio in facts.ratios} for facts in (before, now))
    for batch in [*old, *(batch for batch in new if batch not in old)]:
        figure = f"b={batch}"
        if batch not in new:
            yield rule.verdict("vanished", figure, "the run does not have this batch size", unit="ratio")
        elif batch not in old:
            yield rule.verdict("new", figure, "the reference does not have this batch size", unit="ratio")
        else:
            same = rule.compared(figure, old[batch].conditions, new[batch].conditions)
            yield same if isinstance(same, Verdict) else _ratio(figure, old[batch], new[batch], same)


def _ratio(figure: str, old: Ratio, new: Ratio, rule: Rule) -> Verdict:
    change = ratio_of_ratios(new.workers, old.workers, rule.level)
    floors = [ratio_interval(floor, rule.level) for floor in (old.floor, new.floor) if floor]
    floor = max(floors, key=lambda interval: interval.reach, default=None)
    before, now = (ratio_interval(ratio.workers).estimate for ratio in (old, new))
    values = {"unit": "ratio", "before": before, "now": now, "effect": change.estimate}
    outcome = decide(change, floor, rule.bound)
    if not math.isfinite(change.high):
        text = "cannot resolve: an interval needs more than one worker (see latency.workers)"
        return rule.verdict("unresolved", figure, text, **values)
    text = f"{len(old.workers)} and {len(new.workers)} workers" + (f", floor {floor.reach:.1%}" if floor else "")
    if outcome == "unresolved":
        text = f"cannot resolve {rule.bound:.1%}: {text}; use more workers"
    return rule.verdict(outcome, figure, text, interval=(change.low, change.high), **values)


def memory(before: Memory, now: Memory, rule: Rule) -> Iterator[Verdict]:
    """One verdict for the host, and one for the device if there is one."""
    old, new = ({peak.part: peak for peak in facts.peaks} for facts in (before, now))
    for part in [*old, *(part for part in new if part not in old)]:
        if part not in new:
            yield rule.verdict("vanished", part, "the run does not have it", unit="bytes", before=old[part].bytes)
        elif part not in old:
            yield rule.verdict("new", part, "the reference does not have it", unit="bytes", now=new[part].bytes)
        else:
            same = rule.compared(part, old[part].conditions, new[part].conditions)
            yield same if isinstance(same, Verdict) else _peak(part, old[part], new[part], same)


def _peak(part: str, old: Peak, new: Peak, rule: Rule) -> Verdict:
    """The verdict on one peak. With one process per side there is no interval: then only the limit decides, and for the
    host at least the difference between two runs of one network.
    """
    ratio = new.bytes / old.bytes
    values = {"unit": "bytes", "before": old.bytes, "now": new.bytes, "effect": ratio}
    if min(len(old.samples), len(new.samples)) < 2:
        point = Interval(ratio, ratio, ratio, rule.level, 1)
        slack = HOST_SLACK / old.bytes if part == "host" else 0.0
        text = "one process each" + (f", {_mib(HOST_SLACK)} are within chance" if slack > rule.bound else "")
        return rule.verdict(decide(point, None, max(rule.bound, slack)), part, text, **values)
    change = ratio_of_ratios(_logs(new.samples), _logs(old.samples), rule.level)
    outcome = decide(change, None, rule.bound)
    text = f"{len(old.samples)} and {len(new.samples)} processes"
    if outcome == "unresolved":
        text = f"cannot resolve {rule.bound:.1%}: {text}"
    return rule.verdict(outcome, part, text, interval=(change.low, change.high), **values)


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"


def _logs(samples: Sequence[float]) -> list[float]:
    return [math.log(sample) for sample in samples]
