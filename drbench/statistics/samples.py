"""Summaries of raw samples. Knows numbers only, no torch: whoever measures and whoever reports uses the same ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from drbench.errors import InputError

LEAST_SEEDS = 5
"""Trainings of each of two networks: with fewer, no claim is made about which is better."""


def quantile(samples: Sequence[float], fraction: float) -> float:
    """The value below which `fraction` of the samples lie, with linear interpolation (numpy's default, R's type 7).

    InputError for no samples or a fraction outside 0 to 1.
    """
    if not samples or not 0 <= fraction <= 1:
        raise InputError(f"quantile {fraction} of {len(samples)} samples: needs 0 to 1 of at least one sample")
    ordered = sorted(samples)
    position = fraction * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


@dataclass(frozen=True)
class Summary:
    """What a set of samples amounts to, in the samples' unit.

    p25 to p75, the middle half, is the spread: unlike a standard deviation it is not ruled by the few samples during
    which the machine did something else. p99 of fewer than 100 samples is little more than the largest one.
    """

    count: int
    minimum: float
    p25: float
    p50: float
    p75: float
    p90: float
    p99: float
    maximum: float
    mean: float


def summary(samples: Sequence[float]) -> Summary:
    """Quantiles of `samples`. InputError when there are none."""
    p25, p50, p75, p90, p99 = (quantile(samples, fraction) for fraction in (0.25, 0.5, 0.75, 0.9, 0.99))
    mean = math.fsum(samples) / len(samples)
    return Summary(len(samples), min(samples), p25, p50, p75, p90, p99, max(samples), mean)


def paired_ratios(samples: Sequence[float], reference: Sequence[float]) -> tuple[float, ...]:
    """Round by round, sample over reference. Both were taken in the same rounds, in turn, so that whatever slowed the
    machine down for a while slowed both; `summary` of this gives the ratio (p50) and its spread (p25 to p75).

    InputError when the two differ in length or a reference is not positive.
    """
    if len(samples) != len(reference):
        raise InputError(f"{len(samples)} samples beside {len(reference)} of the reference: pairs need as many of both")
    if min(reference, default=1.0) <= 0:
        raise InputError(f"reference sample {min(reference)} must be positive")
    return tuple(sample / base for sample, base in zip(samples, reference, strict=True))


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and the standard deviation of the population they were drawn from (n - 1); None for a single value."""
    if not values:
        raise InputError("mean of no values: needs at least one")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def in_millions(value: float) -> str:
    """45.57 for 45,570,000; three digits of what is under 0.1, so that a small network does not read 0.00.

    >>> in_millions(45_570_000), in_millions(8_250), in_millions(0)
    ('45.57', '0.00825', '0.00')
    """
    millions = value / 1e6
    digits = 2 - math.floor(math.log10(abs(millions))) if 0 < abs(millions) < 0.1 else 2
    return f"{millions:,.{digits}f}"
