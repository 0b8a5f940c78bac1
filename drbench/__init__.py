"""drbench: benchmark and leaderboard for neural architectures, built around Dynamic Region-Aware Convolution.

The public names below, and all submodules, are loaded on first use (PEP 562), so that importing drbench costs no torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "convert": "drbench.models",
    "create_model": "drbench.models",
    "load_model": "drbench.tasks.networks",
    "load": "drbench.report",
}
_PACKAGES = ("data", "measure", "models", "operators", "report")

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    if not name.startswith("_") and find_spec(f"drbench.{name}"):
        return import_module(f"drbench.{name}")
    raise AttributeError(f"module 'drbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted((*__all__, *_PACKAGES))
