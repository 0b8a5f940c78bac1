"""Published figures of others, to compare with: drbench_suites/published.csv, each row with its source."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources

DEVIATION_LIMIT = 0.02
"""A larger relative deviation of our count from a published one is shown, and explained in docs/published.md."""


@dataclass(frozen=True)
class Published:
    """One row. `madds_m`, `params_m` in millions, `top1_pct` in per cent, as printed in `source`; None: not given."""

    dataset: str
    input_px: int
    model: str
    operator: str
    madds_m: float | None
    params_m: float | None
    top1_pct: float | None
    source: str
    note: str


def published(architecture: str | None = None) -> tuple[Published, ...]:
    """The rows of one architecture (a name as in `drbench models list`), or all, in the file's order; () if none."""
    return tuple(row for row in _rows() if architecture in (None, row.model))


def references(architectures: Collection[str], globs: Iterable[str]) -> tuple[Published, ...]:
    """The rows of these architectures that one of the globs over architecture/operator names."""
    return tuple(
        row
        for row in _rows()
        if row.model in architectures and any(fnmatchcase(f"{row.model}/{row.operator}", glob) for glob in globs)
    )


def deviation(ours: float, theirs: float | None) -> float | None:
    """Relative deviation of our figure from a published one, in the same unit: 0.02 is 2% more. None: not given."""
    return None if not theirs else ours / theirs - 1


def deviates(ours: float, theirs: float | None) -> bool:
    """Whether the deviation is beyond DEVIATION_LIMIT."""
    found = deviation(ours, theirs)
    return found is not None and abs(found) > DEVIATION_LIMIT


@cache
def _rows() -> tuple[Published, ...]:
    text = resources.files("drbench_suites").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(
        Published(
            dataset=row["dataset"],
            input_px=int(row["input_px"]),
            model=row["model"],
            operator=row["operator"],
            madds_m=_number(row["madds_m"]),
            params_m=_number(row["params_m"]),
            top1_pct=_number(row["top1_pct"]),
            source=row["source"],
            note=row["note"],
        )
        for row in csv.DictReader(text.splitlines())
    )


def _number(text: str) -> float | None:
    return float(text) if text else None
