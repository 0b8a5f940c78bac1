"""Intervals of ratios of two times over workers (fresh processes), and decisions based on them.

Samples within one process are not independent: its memory layout, its core and other load shift all of them together.
So each worker gives one log ratio, and intervals are over workers. This module loads no torch.

From 8 workers on, the location is a 20% trimmed mean with Yuen's standard error (winsorised variance, t with h - 1
degrees of freedom): about one worker in ten deviates by several times the usual spread, and with a plain mean it would
widen the interval until nothing can be decided. With fewer workers, the plain mean is used.

K. K. Yuen, The two-sample trimmed t for unequal population variances, Biometrika 61 (1974).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from drbench.errors import InputError
from drbench.statistics.t_quantiles import one_sided, two_sided

Decision = Literal["regression", "held", "unresolved", "improvement"]

LIMIT = 0.02
"""Default limit: the relative increase of a time above which it is a regression."""

TRIM = 0.2
LEAST_TO_TRIM = 8
POWER = 0.8
"""Probability that a change of the size that `resolves` returns would have been detected."""


@dataclass(frozen=True)
class Interval:
    """A ratio (1.0: equal) and its confidence interval at `level`, from `count` workers.

    With one worker, `low` is 0 and `high` is infinite.
    """

    estimate: float
    low: float
    high: float
    level: float
    count: int

    @property
    def reach(self) -> float:
        """The largest distance from 1 in the interval; for a network and its copy, the size of the floor."""
        return max(abs(1 - self.low), abs(self.high - 1))


@dataclass(frozen=True)
class Resolution:
    """The smallest slowdown that a comparison of this duration (`seconds`) detects with probability POWER.

    share: that slowdown, relative. finer: the same for a comparison that takes four times as long.
    """

    share: float
    seconds: float
    finer: float

    @property
    def text(self) -> str:
        """Such as "resolves 6% in 5 min here; 3% needs about 20 min"."""
        if not math.isfinite(self.share):
            return "resolves nothing with one worker"
        now, later = _percent(self.share), _percent(self.finer)
        longer = "" if now == later else f"; {later} needs about {_duration(4 * self.seconds)}"
        return f"resolves {now} in {_duration(self.seconds)} here{longer}"


@dataclass(frozen=True)
class _Located:
    """A location with its variance and degrees of freedom."""

    value: float
    variance: float
    freedom: int


def ratio_interval(log_ratios: Sequence[float], level: float = 0.95, trim: float = TRIM) -> Interval:
    """The interval of a ratio, from one log ratio per worker. InputError for no workers or a level outside 0 to 1."""
    located = _located(log_ratios, trim)
    half = two_sided(located.freedom, level) * math.sqrt(located.variance) if located.freedom else math.inf
    return _interval(located.value, half, level, len(log_ratios))


def ratio_of_ratios(now: Sequence[float], then: Sequence[float], level: float = 0.95, trim: float = TRIM) -> Interval:
    """The change of a ratio between two measurements: Welch's interval for the difference of the log ratios."""
    new, old = _located(now, trim), _located(then, trim)
    count = min(len(now), len(then))
    half = math.inf
    if new.freedom and old.freedom:
        variance = new.variance + old.variance
        parts = new.variance**2 / new.freedom + old.variance**2 / old.freedom
        freedom = variance**2 / parts if parts else new.freedom + old.freedom
        half = two_sided(freedom, level) * math.sqrt(variance)
    return _interval(new.value - old.value, half, level, count)


def shared(level: float, parts: int) -> float:
    """The level of each of `parts` statements such that all hold together with `level` (Bonferroni).

    The statements may be on several variants and batch sizes, or several looks at a measurement that ends early.
    """
    return 1 - (1 - level) / max(parts, 1)


def decide(interval: Interval, floor: Interval | None, limit: float = LIMIT) -> Decision:
    """Decide by an interval whether a ratio exceeds a relative limit. `floor`: the interval of a network and its copy.

    regression: the whole interval is above the limit and the floor (`Interval.reach`).
    improvement: the whole interval is below 1 by more than limit and floor.
    held: the whole interval is within the limit, and the floor is too.
    unresolved: none of these.
    """
    reach = 0.0 if floor is None else floor.reach
    margin = max(limit, reach)
    if interval.low > 1 + margin:
        return "regression"
    if interval.high < 1 - margin:
        return "improvement"
    return "held" if interval.high <= 1 + limit and reach <= limit else "unresolved"


def resolves(
    log_ratios: Sequence[float],
    floor: Sequence[float],
    seconds: float,
    *,
    limit: float = LIMIT,
    level: float = 0.95,
) -> Resolution:
    """The Resolution of a comparison with these workers, which took `seconds` in total."""
    both = _located(log_ratios, TRIM), _located(floor or log_ratios, TRIM)
    return Resolution(_share(*both, 1, limit, level), seconds, _share(*both, 4, limit, level))


def resolution(floor: Sequence[float], seconds: float, wanted: float, level: float = 0.95) -> float:
    """The relative change that `wanted` seconds would resolve on a machine with this floor, measured in `seconds`."""
    located = _located(floor, TRIM)
    return _share(located, located, wanted / seconds, 0.0, level)


def _share(ratio: _Located, floor: _Located, times: float, limit: float, level: float) -> float:
    """The slowdown that `decide` detects with POWER, if there were `times` as many workers."""
    if not (ratio.freedom and floor.freedom):
        return math.inf
    freedom, floor_freedom = ratio.freedom * times, floor.freedom * times
    reach = abs(floor.value) + two_sided(floor_freedom, level) * math.sqrt(floor.variance / times)
    needed = two_sided(freedom, level) + one_sided(freedom, POWER)
    return math.exp(max(math.log1p(limit), reach) + needed * math.sqrt(ratio.variance / times)) - 1


def _located(values: Sequence[float], trim: float) -> _Located:
    """The trimmed mean, its variance from the winsorised values, and h - 1; a plain mean if there are few values."""
    count = len(values)
    if not count or not all(map(math.isfinite, values)):
        raise InputError(f"log_ratios: got {count} values; expected finite ones of at least one worker")
    cut = math.floor(trim * count) if count >= LEAST_TO_TRIM else 0
    ordered = sorted(values)
    kept = ordered[cut : count - cut]
    winsorised = [kept[0]] * cut + kept + [kept[-1]] * cut
    middle = math.fsum(winsorised) / count
    squares = math.fsum((value - middle) ** 2 for value in winsorised)
    freedom = len(kept) - 1
    return _Located(math.fsum(kept) / len(kept), squares / (len(kept) * freedom) if freedom else 0.0, freedom)


def _interval(middle: float, half: float, level: float, count: int) -> Interval:
    high = math.inf if math.isinf(half) else math.exp(middle + half)
    return Interval(math.exp(middle), math.exp(middle - half), high, level, count)


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.03 else f"{share:.0%}"


def _duration(seconds: float) -> str:
    """Such as "45 s", "3 min" or "2 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"
