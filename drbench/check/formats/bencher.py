"""The present figures in Bencher Metric Format: {benchmark: {measure: {value, lower_value?, upper_value?}}}.

Bencher (https://bencher.dev/docs/reference/bencher-metric-format) stores figures over time and has its own thresholds,
so verdicts are not included. Its built-in measure `latency` is in nanoseconds. The others are in the unit of the
figure: multiply-adds, parameters, bytes, ratios, or the unit that a task declares.
"""

from __future__ import annotations

import math
import re

from drbench.check.formats.wording import is_difference, names
from drbench.check.verdicts import Checked, Verdict
from drbench.text import printable, to_json

LONGEST_BENCHMARK, LONGEST_MEASURE = 1024, 64
NANOSECONDS = 1e9


def as_bencher(checked: Checked, width: int, color: bool) -> str:
    """All present figures. Bounds are those of the interval of the change, applied to the reference's figure."""
    benchmarks: dict[str, dict[str, dict[str, float]]] = {}
    for verdict in checked.verdicts:
        if verdict.now is None or not math.isfinite(verdict.now):
            continue
        name, place = names(verdict)  # the place is part of the name of the benchmark, such as "net/conv b=8"
        scale = NANOSECONDS if verdict.unit == "s" else 1.0
        metric = {"value": scale * verdict.now}
        for end, value in zip(("lower_value", "upper_value"), _ends(verdict), strict=False):
            if math.isfinite(value):
                metric[end] = scale * value
        benchmark = " ".join(printable(part, LONGEST_BENCHMARK) for part in (verdict.variant, place) if part)
        benchmarks.setdefault(benchmark[:LONGEST_BENCHMARK], {})[_slug(name)] = metric
    return to_json(benchmarks, finite=True)


def _slug(name: str) -> str:
    """Convert "latency ratio" to "latency-ratio"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:LONGEST_MEASURE]


def _ends(verdict: Verdict) -> tuple[float, ...]:
    if verdict.interval is None or verdict.before is None:
        return ()
    low, high = verdict.interval
    if is_difference(verdict):
        return verdict.before + low, verdict.before + high
    return verdict.before * low, verdict.before * high
