"""Figures of classification from the rank of each true class (codec "rank-u8")."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from drbench.outcomes import decode, share
from drbench.records import Outcomes


def top(outcomes: Outcomes, k: int, weights: ArrayLike | None = None) -> float:
    """The share of images whose true class is among the first k."""
    return share(np.less(decode(outcomes), k), weights)
