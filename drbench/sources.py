"""Hashes of the users' own source files: a network, operator or task that changed is another one."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from drbench.names import is_import, load


def source_hashes(names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the source file behind every package.module:callable among `names`; registry names are left out.

    Where a module hands on what another defines, as a package's __init__.py does, both files count.
    """
    hashes = {}
    for name in sorted({name for name in names if is_import(name)}):
        modules = dict.fromkeys((name.partition(":")[0], *_defined_in(load("name", name))))
        files = [getattr(sys.modules.get(module), "__file__", None) for module in modules]
        if sources := [Path(file).read_bytes() for file in files if file]:
            digests = [hashlib.sha256(source).hexdigest() for source in sources]
            hashes[name] = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return hashes


def _defined_in(found: Any) -> list[str]:
    """Names of the modules that define a callable: a function or class, what it wraps, an object's class."""
    modules = []
    while isinstance(found, functools.partial) or hasattr(found, "__wrapped__"):
        modules.append(getattr(found, "__module__", ""))
        found = found.func if isinstance(found, functools.partial) else found.__wrapped__
    modules.append(getattr(found, "__module__", None) or "")
    return [module for module in modules if module.partition(".")[0] not in sys.stdlib_module_names]
