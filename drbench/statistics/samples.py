"""Summaries of raw samples, for measuring and for reports. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from drbench.errors import InputError

LEAST_SEEDS = 5
"""Minimum number of seeds of each of two networks for a claim about which is better."""


def quantile(samples: Sequence[float], fraction: float) -> float:
    """The quantile `fraction` of the samples, with linear interpolation (numpy's default, R's type 7).

    InputError for no samples or a fraction outside 0 to 1.
    """
    if not samples or not 0 <= fraction <= 1:
        raise InputError(
            f"quantile: got fraction {fraction} and {len(samples)} samples; expected 0 to 1 and at least one sample"
        )
    ordered = sorted(samples)
    position = fraction * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


@dataclass(frozen=True)
class Summary:
    """Quantiles and mean of a set of samples, in the unit of the samples.

    The spread is p25 to p75, the middle half: unlike a standard deviation, it depends little on the few samples during
    which the machine was busy with other work. With fewer than 100 samples, p99 is close to the maximum.
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
    """The Summary of `samples`. InputError if there are none."""
    p25, p50, p75, p90, p99 = (quantile(samples, fraction) for fraction in (0.25, 0.5, 0.75, 0.9, 0.99))
    mean = math.fsum(samples) / len(samples)
    return Summary(len(samples), min(samples), p25, p50, p75, p90, p99, max(samples), mean)


def paired_ratios(samples: Sequence[float], reference: Sequence[float]) -> tuple[float, ...]:
    """The ratio of sample to reference in each round. `summary` of it gives the ratio (p50) and its spread.

    Both were taken in turn in the same rounds, so that a temporary slowdown of the machine affects both.

    InputError if the two differ in length, or a reference is not positive.
    """
    if len(samples) != len(reference):
        raise InputError(f"samples: got {len(samples)} and {len(reference)} of the reference; expected equal numbers")
    if min(reference, default=1.0) <= 0:
        raise InputError(f"reference: got a sample {min(reference)}; expected positive samples")
    return tuple(sample / base for sample, base in zip(samples, reference, strict=True))


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and the standard deviation of the population (n - 1), which is None for a single value."""
    if not values:
        raise InputError("mean: got no values; expected at least one")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def in_millions(value: float) -> str:
    """A number in millions, such as 45.57 for 45,570,000; values under 0.1 have three significant digits, not 0.00.

    >>> in_millions(45_570_000), in_millions(8_250), in_millions(0)
    ('45.57', '0.00825', '0.00')
    """
    millions = value / 1e6
    digits = 2 - math.floor(math.log10(abs(millions))) if 0 < abs(millions) < 0.1 else 2
    return f"{millions:,.{digits}f}"
