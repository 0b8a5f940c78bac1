"""Equal cost: the width at which a plain network costs what another network costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from torch import nn

from drbench import names
from drbench.errors import FailedError, InputError
from drbench.models.architectures import ARCHITECTURES, Architecture
from drbench.models.create import plain
from drbench.records import Variant

MEASURES = ("madds", "params")
STEPS = 24
"""Halvings of the interval: far finer than one channel of any layer."""


def match_width(
    variant: Variant, target: int, by: str, measure: Callable[[nn.Module], int], *, tolerance: float = 0.01
) -> float:
    """The width multiplier at which the plain network of `variant` costs `target` within `tolerance`.

    Channels are rounded as finely as the family allows, not to the published multiple of 8, or 1% would often be out of
    reach; `build` does the same for a variant whose `match` is set.

    Args:
        variant: a plain one; its width is where the search begins.
        target: multiply-adds or parameters.
        by: "madds" or "params": only for the messages, `measure` says what is counted.
        measure: cost of a network; must not fall as the width grows.
        tolerance: largest deviation, as a fraction of the target.

    Raises:
        InputError: for arguments that are wrong, or a user's callable that takes no width.
        FailedError: if no width comes near enough, with the nearest one.
    """
    if by not in MEASURES:
        raise InputError(f"match: got {by!r}; expected {', '.join(MEASURES)}")
    if not isinstance(variant, Variant):
        raise InputError(f"variant: got a {type(variant).__name__}; expected a records.Variant")
    for name, value, least in (("target", target, 1), ("tolerance", tolerance, 0)):
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value < math.inf:
            raise InputError(f"match: {name}: got {value!r}; expected a number from {least} on")
    architecture = names.resolve("model", variant.architecture, ARCHITECTURES)
    known = isinstance(architecture, Architecture)
    divisor = architecture.fine_divisor if known else None  # type: ignore[union-attr]
    published = architecture.width if known else 1.0  # type: ignore[union-attr]
    found: dict[float, int] = {}

    def cost(width: float) -> int:
        found[width] = int(measure(plain(replace(variant, width=width), divisor)))
        return found[width]

    def near(width: float) -> bool:
        return abs(found[width] - target) <= 0.1 * tolerance * target

    low = high = variant.width or published
    cost(low)
    while found[high] < target and high < 64:
        low, high = high, high * 1.5
        cost(high)
    while found[low] > target and low > 1 / 64:
        low, high = low / 1.5, low
        cost(low)
    for _ in range(STEPS):
        middle = round((low + high) / 2, 6)
        if middle in found or near(low) or near(high):
            break
        if cost(middle) < target:
            low = middle
        else:
            high = middle
    best = min(found, key=lambda width: (abs(found[width] - target), width))
    if abs(found[best] - target) > tolerance * target:
        raise FailedError(
            f"match: no width of {variant.architecture} costs {target} {by} within {tolerance:.1%}; the nearest is "
            f"{best:g} with {found[best]} ({(found[best] - target) / target:+.2%})"
        )
    return best
