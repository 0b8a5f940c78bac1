"""The database: what every run measured, on which machine, with which code. See `store.Store`."""

from __future__ import annotations

from drbench_db.store import Store

__all__ = ["Store"]
