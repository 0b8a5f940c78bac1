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
