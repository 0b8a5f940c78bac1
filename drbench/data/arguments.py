"""Arguments of data sets, checked. Imports no torch."""

from __future__ import annotations

from typing import Any

from drbench import bounds
from drbench.errors import InputError


def side(name: str, value: Any) -> int | None:
    """Return `value`, the side of an image in pixels, or None. InputError unless it is a whole number within bounds."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= bounds.SIDE:
        raise InputError(f"data {name}: got {value!r:.50}; expected a whole number of pixels from 1 to {bounds.SIDE}")
    return value


def whole_numbers(data: str, *ranges: tuple[str, Any, int, int]) -> None:
    """InputError for the first (name, value, least, most) whose value is no whole number in its range.

    `data`: the name of the data set.
    """
    for name, value, least, most in ranges:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InputError(
                f"data set {data!r}: {name}: got {value!r:.50}; expected a whole number, {least} to {most}"
            )


def shares(data: str, **values: Any) -> None:
    """InputError for the first value that is no number from 0 to 1. `data`: the name of the data set."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InputError(f"data set {data!r}: {name}: got {value!r}; expected a number from 0 to 1")
