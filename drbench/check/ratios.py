"""Latency and memory beside what they were: ratios, with an interval wherever there is more than one process.

Latency is the ratio to the plain network, measured in alternation with it; how that ratio changed is all that a file
can tell. How a time changed needs both codes at once (see `drbench.against`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from drbench.check.facts import Latency, Memory, Peak, Ratio
from drbench.check.rules import Rule
from drbench.check.verdicts import Verdict
from drbench.statistics.ratios import Interval, decide, ratio_interval, ratio_of_ratios

HOST_SLACK = 2**19
"""Bytes of the host: two runs of one network differ by up to 0.2 MiB (docs/isolation.md), however small it is."""


def latency(before: Latency, now: Latency, rule: Rule) -> Iterator[Verdict]:
    """A verdict for each batch size."""
    old, new = ({ratio.batch: ratio for ratio in found.ratios} for found in (before, now))
    for batch in [*old, *(batch for batch in new if batch not in old)]:
        figure = f"b={batch}"
        if batch not in new:
            yield rule.verdict("vanished", figure, "this batch size is no longer measured", unit="ratio")
        elif batch not in old:
            yield rule.verdict("new", figure, "this batch size was not measured before", unit="ratio")
        else:
            same = rule.compared(figure, old[batch].conditions, new[batch].conditions)
            yield same if isinstance(same, Verdict) else _ratio(figure, old[batch], new[batch], same)


def _ratio(figure: str, old: Ratio, new: Ratio, rule: Rule) -> Verdict:
    found = ratio_of_ratios(new.workers, old.workers, rule.level)
    floors = [ratio_interval(floor, rule.level) for floor in (old.floor, new.floor) if floor]
    floor = max(floors, key=lambda one: one.reach, default=None)
    was, is_now = (ratio_interval(one.workers).estimate for one in (old, new))
    about = {"unit": "ratio", "before": was, "now": is_now, "effect": found.estimate}
    outcome = decide(found, floor, rule.bound)
    if not math.isfinite(found.high):
        text = "cannot resolve: one worker has no interval (latency.workers is how many there are)"
        return rule.verdict("unresolved", figure, text, **about)
    text = f"{len(new.workers)} workers beside {len(old.workers)}" + (f", floor {floor.reach:.1%}" if floor else "")
    if outcome == "unresolved":
        text = f"cannot resolve {rule.bound:.1%}: {text}; more workers narrow it"
    return rule.verdict(outcome, figure, text, interval=(found.low, found.high), **about)


def memory(before: Memory, now: Memory, rule: Rule) -> Iterator[Verdict]:
    """A verdict for the host, and one for the device where there is one."""
    old, new = ({peak.part: peak for peak in found.peaks} for found in (before, now))
    for part in [*old, *(part for part in new if part not in old)]:
        if part not in new:
            yield rule.verdict("vanished", part, "is no longer measured", unit="bytes", before=old[part].bytes)
        elif part not in old:
            yield rule.verdict("new", part, "was not measured before", unit="bytes", now=new[part].bytes)
        else:
            same = rule.compared(part, old[part].conditions, new[part].conditions)
            yield same if isinstance(same, Verdict) else _peak(part, old[part], new[part], same)


def _peak(part: str, old: Peak, new: Peak, rule: Rule) -> Verdict:
    """Without an interval where one process was all there was: then the limit is all there is to go by, and on the host
    what two runs of one network differ by.
    """
    ratio = new.bytes / old.bytes
    about = {"unit": "bytes", "before": old.bytes, "now": new.bytes, "effect": ratio}
    if min(len(old.samples), len(new.samples)) < 2:
        found = Interval(ratio, ratio, ratio, rule.level, 1)
        slack = HOST_SLACK / old.bytes if part == "host" else 0.0
        text = "one process each" + (f", {_mib(HOST_SLACK)} are within chance" if slack > rule.bound else "")
        return rule.verdict(decide(found, None, max(rule.bound, slack)), part, text, **about)
    found = ratio_of_ratios(_logs(new.samples), _logs(old.samples), rule.level)
    outcome = decide(found, None, rule.bound)
    text = f"{len(new.samples)} processes beside {len(old.samples)}"
    if outcome == "unresolved":
        text = f"cannot resolve {rule.bound:.1%}: {text}"
    return rule.verdict(outcome, part, text, interval=(found.low, found.high), **about)


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"


def _logs(samples: Sequence[float]) -> list[float]:
    return [math.log(sample) for sample in samples]
