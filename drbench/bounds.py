"""Upper bounds of what may be asked for: beyond any real use, and small enough that checking them costs nothing.

Everything that comes from outside (a suite, a command line, a model file, a database) is held to them before anything
is allocated, imported or counted, so that a typing error is one line and not an hour of work or a full memory.
"""

from __future__ import annotations

import math
from typing import Any

from drbench.text import is_utf8, printable

CHANNELS = 2**20
"""Channels of a convolution, of an image."""
CLASSES = 100_000_000
"""Outputs of a classifier; the largest public sets of faces have some millions of people."""
REGIONS = 4096
"""Regions, and experts, of an operator."""
SIDE = 65_536
"""Height and width of an input in pixels."""
ELEMENTS = 2**31
"""Elements of one input."""
WIDTH = 1000.0
"""Multiplier of a network's channels."""
BATCH_SIZE = 2**24
BATCH_SIZES = 100
"""Batch sizes that one experiment times."""
EPOCHS = 1_000_000
RATE = 1_000_000
"""Learning rate, and weight decay."""
NORM = 10**12
"""Norm to which gradients are clipped."""
SEEDS = 10_000
THREADS = 65_536
WORKERS = 10_000
RUNS = 10_000_000
SECONDS = 100 * 365 * 86_400.0
"""A hundred years."""
MEMORY_GIB = 2.0**20
"""A pebibyte."""
SHARDS = 1_000_000
INTEGER = 2**63 - 1
"""What a database's integer holds."""

NAME = 200
"""Characters of a name: of a suite, a label, a network, an operator, a git reference."""
NAME_PATTERN = r"^[^\x00-\x1f\x7f]+$"
"""Of a name: no control characters."""
TEXT = 10_000
"""Characters of a description or any other text in a suite or a header."""
DEPTH = 16
"""Levels of nested lists and tables."""
ITEMS = 100_000
"""Values in all nested lists and tables together."""
FILE_CHARACTERS = 2**20
"""Of a suite's TOML."""
VARIANTS = 10_000
"""Networks of a suite."""
WORK = 200_000
"""Pieces of work of a suite: networks times stages and seeds."""


def wrong(value: Any) -> str | None:
    """What is wrong with a nested value from outside, or None.

    Allowed are None, booleans, integers of 64 bits, finite floats, text without NUL, lists, and tables whose keys are
    text: at most DEPTH levels and ITEMS values. Walks without recursion, so no depth can exhaust the stack.

    >>> wrong({"regions": 8, "experts": [1, 2.5]})
    >>> wrong({"regions": 10**30})
    'regions: got a whole number of 101 bits; expected at most 64 bits'
    """
    left: list[tuple[str, Any, int]] = [("", value, 0)]
    seen = 0
    while left:
        path, item, depth = left.pop()
        seen += 1
        if seen > ITEMS:
            return f"it holds more than {ITEMS:,} values"
        if depth > DEPTH:
            return f"it is nested more than {DEPTH} levels deep"
        if isinstance(item, dict):
            if strange := [key for key in item if not isinstance(key, str)]:
                return f"{path or 'a table'} has a key that is not text: {strange[0]!r:.50}"
            if any(len(key) > NAME or "\0" in key for key in item):
                return f"{path or 'a table'} has a key of more than {NAME} characters, or with NUL in it"
            left += [(f"{path}.{key}".lstrip("."), inner, depth + 1) for key, inner in reversed(item.items())]
        elif isinstance(item, list | tuple):
            left += [
                (f"{path}.{number}".lstrip("."), inner, depth + 1) for number, inner in reversed([*enumerate(item)])
            ]
        elif message := _scalar(item):
            return f"{path}: {message}" if path else message
    return None


def _scalar(item: Any) -> str | None:
    if isinstance(item, str):
        if not is_utf8(item):
            return f"got '{printable(item, NAME)}'; expected text in UTF-8"
        if "\0" in item:
            return "got text with NUL; expected text without it"
        return f"got {len(item):,} characters; expected at most {TEXT:,}" if len(item) > TEXT else None
    if isinstance(item, int) and not isinstance(item, bool):
        bits = item.bit_length() + 1  # with the sign
        fits = -INTEGER - 1 <= item <= INTEGER
        return None if fits else f"got a whole number of {bits:,} bits; expected at most 64 bits"
    if isinstance(item, float):
        return None if math.isfinite(item) else f"got {item}; expected a finite number"
    if item is None or isinstance(item, bool):
        return None
    return f"got a {type(item).__name__}; expected text, a number, true or false, a list or a table"
