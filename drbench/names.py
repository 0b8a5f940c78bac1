"""A name is an entry of a registry, or "package.module:callable" from the current directory or the environment."""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from drbench.errors import InputError, unknown

T = TypeVar("T")
HINT = "Your own goes by package.module:callable"


def is_import(name: str) -> bool:
    """Whether `name` has the form package.module:callable."""
    return ":" in name


def resolve(kind: str, name: str, registry: Mapping[str, T]) -> T | Callable[..., Any]:
    """The registry's entry, or the imported callable. InputError names what is allowed."""
    if is_import(name):
        return load(kind, name)
    if name not in registry:
        raise unknown(kind, name, registry, HINT)
    return registry[name]


def load(kind: str, name: str) -> Callable[..., Any]:
    """Import "package.module:callable"; the current directory comes first, as with `python -m`."""
    module_name, _, attribute = name.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever a user's module does at import is the user's to mend
        reason = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise InputError(f"{kind} {name!r}: importing {module_name!r} failed: {reason}") from error
    for part in attribute.split("."):
        if not part or not hasattr(found, part):
            raise InputError(f"{kind} {name!r}: module {module_name!r} has no {attribute!r}")
        found = getattr(found, part)
    if not callable(found):
        raise InputError(f"{kind} {name!r} is a {type(found).__name__}, not something that can be called")
    return found  # type: ignore[no-any-return]


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
