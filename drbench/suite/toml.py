"""Writes plain tables as TOML text: the inverse of `tomllib.loads` for the values in a suite."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dumps(table: Mapping[str, Any]) -> str:
    """TOML text: one line per key, nested tables inline. Keys with the value None are left out (TOML has no null)."""
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in table.items() if value is not None)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _string(value)
        case Mapping():
            inside = ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items() if item is not None)
            return f"{{ {inside} }}" if inside else "{}"
        case Sequence():
            if any(isinstance(item, Mapping) for item in value):
                return "[\n" + "".join(f"    {_value(item)},\n" for item in value) + "]"
            return "[" + ", ".join(_value(item) for item in value) + "]"
        case _:
            raise TypeError(f"a {type(value).__name__} has no TOML form")
