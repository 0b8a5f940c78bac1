"""Channel counts at a width multiplier."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def divisible(channels: float, divisor: int) -> int:
    """The multiple of `divisor` nearest to `channels`, but not more than 10% below it (as the MobileNet papers do)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def between(table: Sequence[tuple[float, float]], width: float) -> float:
    """The value at `width` of a table of (width, value): linear in between, proportional beyond either end."""
    first, last = table[0], table[-1]
    if width <= first[0]:
        return first[1] * width / first[0]
    for (low, a), (high, b) in pairwise(table):
        if width <= high:
            return a + (b - a) * (width - low) / (high - low)
    return last[1] * width / last[0]
