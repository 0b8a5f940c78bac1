"""Tests of whether a figure became worse: of two sets of weights over images, or of an operator over seeds.

By images: McNemar's exact test. It uses only the images on which the two differ; without a drop, each of these is lost
or won with equal probability. The interval is Clopper and Pearson's for the share of losses among them, times their
number, and never narrower than Wald's for the difference of paired shares. It is below zero if the one-sided exact test
at (1 - level) / 2 is significant.

By seeds: Student's t over the differences of common seeds, which have the same initial weights and order of images;
Welch's if the two have fewer than five seeds in common.

Q. McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12 (1947).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import scipy

from drbench.errors import InputError
from drbench.statistics.samples import LEAST_SEEDS, mean_and_deviation
from drbench.statistics.t_quantiles import two_sided

POWER = 0.8
"""Probability that a drop of the size `Change.sees` would have been detected."""

TOLERANCE = 0.02
"""Without a limit: "held" requires that a drop of this size (two points) is excluded."""


@dataclass(frozen=True)
class Change:
    """The change of a figure, in its unit.

    outcome: regression (a drop beyond the limit), improvement (a gain beyond the limit), held (no drop beyond limit or
        tolerance), unresolved. If lower is better, a drop is a rise.
    effect, interval: now - before.
    sees: the smallest drop that such data show with probability POWER.
    count: images that differ, or seeds.
    """

    outcome: str
    effect: float
    interval: tuple[float, float]
    sees: float
    count: int


def by_images(
    before: Sequence[bool],
    now: Sequence[bool],
    *,
    limit: float = 0.0,
    level: float = 0.99,
    tolerance: float = TOLERANCE,
) -> Change:
    """Compare answers of two sets of weights on the same images, in the same order. InputError for unequal numbers."""
    if len(before) != len(now) or not before:
        raise InputError(f"answers: got {len(now)} and {len(before)}; expected the same images for McNemar's test")
    lost = sum(1 for a, b in zip(before, now, strict=True) if a and not b)
    won = sum(1 for a, b in zip(before, now, strict=True) if b and not a)
    images, differ, tail = len(now), lost + won, (1 - level) / 2
    low = float(scipy.special.betaincinv(lost, won + 1, tail)) if lost else 0.0
    high = float(scipy.special.betaincinv(lost + 1, won, 1 - tail)) if won else 1.0
    effect = (won - lost) / images
    reach = float(scipy.special.ndtri(1 - tail)) * math.sqrt((differ / images - effect**2) / images)
    interval = (
        min(_share(high, differ, images), effect - reach),
        max(_share(low, differ, images), effect + reach),
    )
    return Change(_outcome(interval, limit, tolerance), effect, interval, _seen(differ, tail) / images + limit, differ)


def _share(losses: float, differ: int, images: int) -> float:
    """The change of the share of correct answers, for this share of losses among the images that differ."""
    return (1 - 2 * losses) * differ / images


def _seen(differ: int, tail: float) -> float:
    """The smallest drop, in images, that the test detects with POWER, with this number of images that differ."""
    count = max(differ, math.ceil(math.log2(1 / tail)))  # fewer are never significant, even if all are lost
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if scipy.special.bdtrc(middle - 1, count, 0.5) <= tail else (middle + 1, high)
    return (2 * float(scipy.special.betaincinv(low, count - low + 1, POWER)) - 1) * count


def by_seeds(
    before: Mapping[int | None, float],
    now: Mapping[int | None, float],
    *,
    limit: float = 0.0,
    level: float = 0.99,
    sign: int = 1,
    tolerance: float = TOLERANCE,
) -> Change:
    """Compare a figure over seeds. `sign`: -1 if lower is better. InputError with fewer than LEAST_SEEDS of either."""
    if min(len(before), len(now)) < LEAST_SEEDS:
        raise InputError(f"seeds: got {len(now)} and {len(before)}; expected at least {LEAST_SEEDS} of each")
    both = [seed for seed in now if seed in before]
    if len(both) >= LEAST_SEEDS:
        differences = [now[seed] - before[seed] for seed in both]
        effect, error, freedom = fmean(differences), _error(differences), len(both) - 1.0
        count = len(both)
    else:
        new, old = list(now.values()), list(before.values())
        effect, count = fmean(new) - fmean(old), min(len(new), len(old))
        parts = [_error(values) ** 2 for values in (new, old)]
        error = math.sqrt(sum(parts))
        weights = parts[0] ** 2 / (len(new) - 1) + parts[1] ** 2 / (len(old) - 1)
        freedom = sum(parts) ** 2 / weights if weights else float(len(new) + len(old) - 2)
    reach = two_sided(freedom, level)
    interval = (effect - reach * error, effect + reach * error)
    sees = (
        float(scipy.special.nctdtrinc(freedom, 1 - POWER, reach)) * error + limit
    )  # noncentrality at which the test has POWER
    gain = interval if sign > 0 else (-interval[1], -interval[0])
    return Change(_outcome(gain, limit, tolerance), effect, interval, sees, count)


@dataclass(frozen=True)
class Difference:
    """The mean difference over common seeds.

    half: half the width of its 95% interval (Student's t over the paired differences); None with fewer than
        LEAST_SEEDS pairs.
    """

    mean: float
    half: float | None
    pairs: int


def difference(values: Mapping[int | None, float], reference: Mapping[int | None, float]) -> Difference | None:
    """The difference of a figure to that of a reference, over common seeds; None if there are none."""
    pairs = [values[seed] - reference[seed] for seed in values if seed in reference]
    if not pairs:
        return None
    half = two_sided(len(pairs) - 1) * _error(pairs) if len(pairs) >= LEAST_SEEDS else None
    return Difference(fmean(pairs), half, len(pairs))


def _error(values: Sequence[float]) -> float:
    """The standard error of the mean of at least two values."""
    _, deviation = mean_and_deviation(values)
    assert deviation is not None
    return deviation / math.sqrt(len(values))


def _outcome(gain: tuple[float, float], limit: float, tolerance: float) -> str:
    """The outcome from the interval of the change, where positive is better."""
    low, high = gain
    if high < -limit:
        return "regression"
    if low > limit:
        return "improvement"
    return "held" if low >= -(limit or tolerance) else "unresolved"
