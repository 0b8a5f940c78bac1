"""Data sets: one embedded and generated, torchvision's by name, and any image folder or callable of the user's own.

Importing this room loads no torch; `open_data`, `DATASETS` and `Splits` load it when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drbench.data.info import NAMES, Info, info

if TYPE_CHECKING:
    from drbench.data.sets import DATASETS, open_data
    from drbench.data.splits import Splits

__all__ = ["DATASETS", "NAMES", "Info", "Splits", "info", "open_data"]


def __getattr__(name: str) -> Any:
    if name in ("DATASETS", "open_data"):
        from drbench.data import sets

        return getattr(sets, name)
    if name == "Splits":
        from drbench.data.splits import Splits

        return Splits
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
