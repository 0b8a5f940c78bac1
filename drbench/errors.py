"""The errors drbench raises on purpose; each knows its exit code. Caught once, in `cli`.

A message is one line: what came, what is allowed, what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from drbench.text import quoted

DONE, REGRESSION, USAGE, NOTHING, FAILED, UNRESOLVED, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 4, 5, 70, 130


class DrbenchError(Exception):
    """Base of all of them."""

    exit_code = INTERNAL


class InputError(DrbenchError, ValueError):
    """Usage or bad input: the caller can mend it."""

    exit_code = USAGE


class DataError(InputError):
    """An item of a data set cannot be used. Every network would fail on it, so it ends the run, not one variant."""


class NothingError(DrbenchError):
    """Nothing to show or to compare."""

    exit_code = NOTHING


class FailedError(DrbenchError):
    """Something that should have worked did not: a variant, a disk, a lock."""

    exit_code = FAILED


class InterruptedRunError(DrbenchError):
    """A run that a signal ended: how to go on with it."""

    exit_code = INTERRUPTED


_USUAL = ("_1.00", "_x1_0")
"""How the network of a family's usual width ends."""


def _usual(name: str, names: Sequence[str]) -> list[str]:
    """The network of the usual width, where `name` is a family: mobilenet_v2 for mobilenet_v2_1.00."""
    spelt = re.sub(r"[^a-z0-9]", "", name.lower())
    usual = [(one, end) for end in _USUAL for one in names if one.endswith(end)]
    return [one for one, end in usual if _spelling(one, end) == spelt or one == f"{name}0"][:1]


def _spelling(name: str, end: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.removesuffix(end))


def unknown(kind: str, name: object, allowed: Iterable[str], hint: str = "") -> InputError:
    """An InputError for a name that is not there: the nearest ones first, then all that are.

    >>> str(unknown("suite", "mobilnet", ["mobilenet", "smoke"]))
    "unknown suite 'mobilnet': did you mean 'mobilenet'? Known: mobilenet, smoke"
    """
    names = sorted(allowed)
    near = _usual(str(name), names) or get_close_matches(str(name), names, n=1, cutoff=0.6)
    guess = f": did you mean {near[0]!r}?" if near else "."
    tail = f". {hint}" if hint else ""
    return InputError(f"unknown {kind} {quoted(name)}{guess} Known: {', '.join(names) or 'none'}{tail}")
