"""A name is an entry of a registry, or "package.module:callable" from the current directory or the environment."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from drbench.errors import InputError, unknown

T = TypeVar("T")
HINT = "To use your own, give package.module:callable"


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
