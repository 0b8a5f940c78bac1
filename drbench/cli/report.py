"""`drbench report`: the comparison as a table."""

from __future__ import annotations

from drbench.cli import options as o


def report(db: o.Db = None) -> None:
    """The comparison as a table."""
