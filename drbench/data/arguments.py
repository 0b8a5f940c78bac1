"""Arguments of data sets, checked. Imports no torch."""

from __future__ import annotations

from typing import Any

from drbench import bounds
from drbench.errors import InputError


def side(name: str, value: Any) -> int | None:
    """A side of an image in pixels from a suite's [data.args], or None. InputError for what is no such number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= bounds.SIDE:
        raise InputError(f"data {name}: got {value!r:.50}; expected a whole number of pixels from 1 to {bounds.SIDE}")
    return value
