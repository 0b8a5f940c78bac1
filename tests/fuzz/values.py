"""Values that no reader expects, and documents with such values in them."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

from tests.hostile import SURROGATE, TEXTS

NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 2, 255, 2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**18, 10**30, 10**400),
    *(0.5, -0.0, 1e-320, 1e300, float("nan"), float("inf"), float("-inf"), True, False),
)
NAMES = (
    *("", " ", ".", "..", "/", "~", "~nouser/x", "a/b", "C:\\x", "-", "--help", "%s%n", "$(id)", "`id`", "x" * 5000),
    *("drconv", "conv", "last-pointwise", "*", "**", "[", "mobilenet_v2_1.00", "latest", "null", "nan", "1e999"),
    *("subprocess:getoutput", "os:system", "a:b", ":", "a:", ":b", "a.b.c:d.e", "²", "\uff11\uff12"),
)


def nested(rng: Random, depth: int) -> Any:
    """Lists and tables in each other."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def anything(rng: Random) -> Any:
    """A value of any type and size."""
    return rng.choice(
        (
            lambda: None,
            lambda: rng.choice(NUMBERS),
            lambda: rng.choice(NUMBERS),
            lambda: rng.choice(NAMES),
            lambda: rng.choice(TEXTS),
            lambda: [],
            lambda: {},
            lambda: [rng.choice(NUMBERS) for _ in range(rng.randrange(1, 5))],
            lambda: {rng.choice(NAMES) or "k": rng.choice(NUMBERS)},
            lambda: nested(rng, rng.choice((3, 20, 300))),
            lambda: [0] * rng.choice((100, 20_000)),
        )
    )()


def text(rng: Random) -> str:
    """Any text that a command line can hold: no NUL; it may be no valid UTF-8."""
    value = rng.choice((*NAMES, *TEXTS, SURROGATE.split()[0], str(rng.choice(NUMBERS))))
    return value.replace("\0", "")[:100_000]


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a nested document."""
    found = [path] if path else []
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        found += places(value, (*path, key))
    return found


def mutated(rng: Random, document: Any, times: int = 1) -> Any:
    """A copy of a JSON document, with some values replaced, removed, doubled or renamed."""
    changed = copy.deepcopy(document)
    for _ in range(times):
        found = places(changed)
        if not found:
            return anything(rng)
        *path, last = rng.choice(found)
        parent = changed
        for key in path:
            parent = parent[key]
        match rng.randrange(6):
            case 0:
                del parent[last]
            case 1 if isinstance(parent, dict):
                parent[rng.choice(NAMES)] = parent.pop(last)
            case 2 if isinstance(parent, list):
                parent.insert(0, copy.deepcopy(parent[last]))
            case _:
                parent[last] = anything(rng)
    return changed


def flipped(rng: Random, content: bytes, most: int = 8) -> bytes:
    """Bytes with some bits flipped, a part cut off, doubled or zeroed."""
    data = bytearray(content)
    if not data:
        return rng.randbytes(rng.randrange(1, 100))
    match rng.randrange(5):
        case 0:
            del data[rng.randrange(len(data)) :]
        case 1:
            start = rng.randrange(len(data))
            data[start : start + rng.randrange(1, 4096)] = bytes(rng.randrange(1, 4096))
        case 2:
            start = rng.randrange(len(data))
            data[start:start] = data[start : start + rng.randrange(1, 4096)]
        case _:
            for _ in range(rng.randrange(1, most + 1)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def as_json(document: Any) -> str:
    """JSON, with NaN and infinities as Python writes them; text where a document holds integers beyond its limit."""
    try:
        return json.dumps(document)
    except (ValueError, RecursionError):
        return "[" * 100_000
