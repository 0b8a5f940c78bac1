"""A small suite, for the tests of this folder."""

from __future__ import annotations

from typing import Any

from drbench.suite import overrides, plan, read
from drbench.suite.tables import Suite

TINY: dict[str, Any] = {
    "name": "tiny",
    "architectures": ["shufflenet_v2_x0_5"],
    "operators": [{"operator": "drconv", "regions": 8}],
}

HUGE = 10**30


def made(document: dict[str, Any] | None = None, **given: Any) -> Suite:
    return read.validate(overrides.apply({**TINY, **(document or {})}, given), "tiny")


def named(found: Suite) -> list[str]:
    return [f"{name}/{label}" for name, rows in plan.variants(found).items() for _, label in rows]
