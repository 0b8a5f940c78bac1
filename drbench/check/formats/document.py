"""A complete check as JSON; drbench/check/schema.json defines its fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from drbench import __version__
from drbench.check.verdicts import Checked, Verdict
from drbench.text import to_json

FORMAT, VERSION = "drbench-check", 1
"""The version changes if readers of the previous one would misread the document."""


def as_json(checked: Checked, width: int, color: bool) -> str:
    """The check with raw figures. A value that is not finite (the open end of an interval) is null."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "drbench": __version__,
        "exit_code": checked.exit_code,
        **asdict(checked),
        "verdicts": [_verdict(verdict) for verdict in checked.verdicts],
    }
    return to_json(_finite(document), default=str, finite=True)


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {name: value for name, value in asdict(verdict).items() if name != "declared"}


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
