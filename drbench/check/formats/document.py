"""A check as JSON, whole; drbench/check/schema.json says what is in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from drbench import __version__
from drbench.check.verdicts import Checked, Verdict
from drbench.text import to_json

FORMAT, VERSION = "drbench-check", 1
"""The version changes when a reader of the one before would misread it."""


def as_json(checked: Checked, width: int, color: bool) -> str:
    """All figures raw; one that is not finite (the open end of an interval) is null, for JSON has no word for it."""
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


def _finite(found: Any) -> Any:
    if isinstance(found, float):
        return found if math.isfinite(found) else None
    if isinstance(found, Mapping):
        return {str(key): _finite(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [_finite(value) for value in found]
    return found
