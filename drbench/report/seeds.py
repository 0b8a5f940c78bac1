"""What several seeds say: mean, spread, and the difference between two variants, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean

from drbench.report.model import FEW_SEEDS


@dataclass(frozen=True)
class Difference:
    """Mean difference over the seeds that both have. `half` is half the width of its 95% interval (Student's t over
    the paired differences), None with fewer than FEW_SEEDS pairs: too few seeds to say more.
    """

    mean: float
    half: float | None
    pairs: int


def spread(values: Mapping[int | None, float]) -> tuple[float, float | None, int]:
    """Mean, standard deviation over seeds (n - 1; None for one seed), number of seeds."""
    found = list(values.values())
    return fmean(found), stdev(found) if len(found) > 1 else None, len(found)


def stdev(values: Sequence[float]) -> float:
    """The standard deviation with n - 1 (the statistics module's is exact, and a hundred times slower)."""
    mean = fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def difference(values: Mapping[int | None, float], reference: Mapping[int | None, float]) -> Difference | None:
    """values - reference over their common seeds; None when they have none in common."""
    pairs = [values[seed] - reference[seed] for seed in values if seed in reference]
    if not pairs:
        return None
    half = t_quantile(len(pairs) - 1) * stdev(pairs) / math.sqrt(len(pairs)) if len(pairs) >= FEW_SEEDS else None
    return Difference(fmean(pairs), half, len(pairs))


def t_quantile(freedom: int, probability: float = 0.975) -> float:
    """Student's t quantile by the Cornish-Fisher series (Abramowitz and Stegun 26.7.5): 0.3% off at 4 degrees of
    freedom, closer for more.
    """
    z = NormalDist().inv_cdf(probability)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * freedom**4)
    )
