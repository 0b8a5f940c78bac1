from __future__ import annotations

from tests.books import book

__all__ = ["book"]
