"""How sure a ratio of two times is, with the worker (a fresh process) as the unit, and what follows from that.

Samples within one process are not independent: where its memory came to lie, which core it was given and what else ran
then shift them together. So each worker gives one log-ratio, and intervals are over workers. Numbers only, no torch.

From 8 workers on, the location is a 20% trimmed mean with Yuen's standard error (winsorised variance, t with h - 1
degrees of freedom): a worker in ten is off by several times the usual spread, and a plain mean lets it widen the
interval until nothing can be told. Fewer workers are too few to trim.

K. K. Yuen, The two-sample trimmed t for unequal population variances, Biometrika 61 (1974).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from drbench.errors import InputError
from drbench.statistics.student import one_sided, two_sided

Decision = Literal["regression", "held", "unresolved", "improvement"]

LIMIT = 0.02
"""The share by which a time may grow before it counts as a regression, where nothing else is asked for."""

TRIM = 0.2
LEAST_TO_TRIM = 8
POWER = 0.8
"""How often a change of the size that `resolves` names would have been found."""


@dataclass(frozen=True)
class Interval:
    """A ratio (1.0: equal) and where it lies with confidence `level`, from `count` workers.

    One worker alone has no interval: low is 0 and high infinite.
    """

    estimate: float
    low: float
    high: float
    level: float
    count: int

    @property
    def reach(self) -> float:
        """The farthest share from 1 that the interval allows: of a network against its own copy, what is no effect."""
        return max(abs(1 - self.low), abs(self.high - 1))


@dataclass(frozen=True)
class Resolution:
    """The smallest slow-down, a share, that a comparison of so many `seconds` finds in four of five cases; `finer` is
    that of one that takes four times as long.
    """

    share: float
    seconds: float
    finer: float

    @property
    def text(self) -> str:
        """ "resolves 6% in 5 min here; 3% needs about 20 min" """
        if not math.isfinite(self.share):
            return "resolves nothing with one worker"
        now, later = _percent(self.share), _percent(self.finer)
        longer = "" if now == later else f"; {later} needs about {_duration(4 * self.seconds)}"
        return f"resolves {now} in {_duration(self.seconds)} here{longer}"


@dataclass(frozen=True)
class _Located:
    """A location, its variance and the degrees of freedom of that."""

    value: float
    variance: float
    freedom: int


def ratio_interval(log_ratios: Sequence[float], level: float = 0.95, trim: float = TRIM) -> Interval:
    """The ratio whose logarithm was seen once in each worker. InputError for no workers or a level outside 0 to 1."""
    found = _located(log_ratios, trim)
    half = two_sided(found.freedom, level) * math.sqrt(found.variance) if found.freedom else math.inf
    return _interval(found.value, half, level, len(log_ratios))


def ratio_of_ratios(now: Sequence[float], then: Sequence[float], level: float = 0.95, trim: float = TRIM) -> Interval:
    """How a ratio changed between two measurements of it: Welch's interval for the difference of the log-ratios."""
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
    """The level of each of `parts` statements so that all hold together with `level` (Bonferroni): several variants
    and batch sizes, or several looks at a measurement that ends as soon as one of them tells.
    """
    return 1 - (1 - level) / max(parts, 1)


def decide(interval: Interval, floor: Interval | None, limit: float = LIMIT) -> Decision:
    """What an interval says about a limit (a share), beside the floor: the same network against its own copy.

    regression: certainly worse than the limit, and than whatever the copy may differ by (`Interval.reach`).
    held: certainly within the limit, and the floor is within it too. improvement: held, and certainly better than 1 by
    more than limit and floor. unresolved: none of these.
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
    """What a comparison with these workers, which took `seconds` in all, could have told; and four times that."""
    both = _located(log_ratios, TRIM), _located(floor or log_ratios, TRIM)
    return Resolution(_share(*both, 1, limit, level), seconds, _share(*both, 4, limit, level))


def resolution(floor: Sequence[float], seconds: float, wanted: float, level: float = 0.95) -> float:
    """The share that `wanted` seconds would resolve on a machine whose floor these workers saw in `seconds`."""
    found = _located(floor, TRIM)
    return _share(found, found, wanted / seconds, 0.0, level)


def _share(found: _Located, floor: _Located, times: float, limit: float, level: float) -> float:
    """The slow-down that `decide` calls a regression with POWER, had there been `times` as many workers."""
    if not (found.freedom and floor.freedom):
        return math.inf
    freedom, still = found.freedom * times, floor.freedom * times
    reach = abs(floor.value) + two_sided(still, level) * math.sqrt(floor.variance / times)
    needed = two_sided(freedom, level) + one_sided(freedom, POWER)
    return math.exp(max(math.log1p(limit), reach) + needed * math.sqrt(found.variance / times)) - 1


def _located(values: Sequence[float], trim: float) -> _Located:
    """The trimmed mean, its variance by the winsorised values, and h - 1; a plain mean where there are few values."""
    count = len(values)
    if not count or not all(map(math.isfinite, values)):
        raise InputError(f"{count} log-ratios: an interval needs at least one worker, and finite ones")
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
    """45 s, 3 min, 2 h"""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"
