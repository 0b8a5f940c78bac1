"""Quantiles of Student's t distribution, for all intervals."""

from __future__ import annotations

import scipy  # loads its parts when they are used; scipy.special takes a quarter of a second

from drbench.errors import InputError


def two_sided(freedom: float, level: float = 0.95) -> float:
    """The quantile for a two-sided interval at `level`; the degrees of freedom need not be whole.

    InputError for a level outside 0 to 1.

    >>> round(two_sided(4), 4)
    2.7764
    """
    if not 0 < level < 1:
        raise InputError(f"level: got {level}; expected a number between 0 and 1")
    return one_sided(freedom, (1 + level) / 2)


def one_sided(freedom: float, probability: float) -> float:
    """The quantile that is exceeded with probability 1 - `probability`."""
    return float(scipy.special.stdtrit(freedom, probability))
