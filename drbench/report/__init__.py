"""Results for people and programs: `load` returns a frame; `render`, `show` and `runs_table` return text.

pandas and rich are loaded at the first use of any of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drbench.report.frame import load
    from drbench.report.rendering import FORMATS, render
    from drbench.report.runs import runs_table, show

_WHERE = {"load": "frame", "render": "rendering", "FORMATS": "rendering", "runs_table": "runs", "show": "runs"}

__all__ = ["FORMATS", "load", "render", "runs_table", "show"]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"drbench.report.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'drbench.report' has no attribute {name!r}")
