"""The native CPU kernels: C++, built once for a machine, loaded when drbench_kernels is imported.

Nothing is ever built inside somebody's first forward: `drbench kernels build`, `drbench run` and `ensure` build;
importing loads what is there. $DRBENCH_NATIVE says otherwise: "off" never loads, "build" builds when importing.
Without them, the PyTorch path computes the same, slower, and says so once.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from drbench_kernels.native.build import BuildError, build, hindrance, library

__all__ = [
    "BuildError",
    "SettingError",
    "build",
    "ensure",
    "kernels",
    "loaded",
    "on_import",
    "ready",
    "refresh",
    "switched_off",
    "warn_once",
    "why_not",
]

WISHES = ("auto", "build", "off")
_NOT_BUILT = "not built; `drbench kernels build` does it in about 20 seconds, DRBENCH_NATIVE=build when importing"
_loaded: Path | None = None
_reason = ""
_warned = False


class SettingError(ValueError):
    """DRBENCH_NATIVE is something else than WISHES. A command that meets it leaves with this code."""

    exit_code = 2


def _wish() -> str:
    return os.environ.get("DRBENCH_NATIVE", "auto")


def ready() -> bool:
    """Whether region convolutions on the CPU run natively."""
    return _loaded is not None and kernels() != "none"


def loaded() -> Path | None:
    """The library that was loaded; it may be for another processor than this one (see `ready`)."""
    return _loaded


def kernels() -> str:
    """ "avx2", "avx512" or "neon": the kernels for this processor; "none" where nothing is loaded."""
    return str(torch.ops.drbench_native.kernels()) if _loaded else "none"


def why_not() -> str:
    """Why the native kernels are not ready, and how to mend it, in one line; "" where they are."""
    if not _loaded:
        return _reason or hindrance() or _NOT_BUILT
    return "" if ready() else f"this processor has neither AVX2 nor NEON ({torch.backends.cpu.get_cpu_capability()})"


def ensure(say: Callable[[str], object] | None = None) -> bool:
    """Build what is not built, and load it: before timed work, never in the middle. False, after one warning, if not.

    `say` gets a line where this takes a while, and the warning; without it they go to stderr and to `warnings`.
    """
    if _loaded or _wish() == "off":
        return ready()
    tell = say or _to_stderr
    try:
        found = library(exact=True)
        if not _load(found or build(tell)) and found:
            _load(build(tell, force=True))  # whole, and yet not for this machine: it came from elsewhere
    except BuildError as error:
        _give_up(str(error))
        try:
            other = library()
        except BuildError:
            other = None
        if other is None or not _load(other):
            _give_up(str(error))
    warn_once(say)
    return ready()


def on_import() -> None:
    """What importing does: load a library that is there; build one only where DRBENCH_NATIVE=build asks for it."""
    wish = _wish()
    if wish not in WISHES:
        raise SettingError(f"DRBENCH_NATIVE: got {wish!r}; expected {', '.join(WISHES)}")
    if wish == "off":
        _give_up("switched off by DRBENCH_NATIVE=off")
    elif wish == "build":
        ensure()
    else:
        try:
            found = library()
        except BuildError as error:
            _give_up(str(error))
        else:
            if found is not None:
                _load(found)


def refresh() -> None:
    """Load what was built since this was imported, and warn of nothing any more.

    For the processes of a program that has built, or warned, before it started them.
    """
    global _warned
    if not _loaded and _wish() != "off":
        on_import()
    _warned = True


def warn_once(say: Callable[[str], object] | None = None) -> None:
    """Say that the slower path runs, why, and how to mend it; silent where somebody asked for it."""
    global _warned
    if _warned or ready() or _wish() == "off":
        return
    _warned = True
    text = f"region convolutions on the CPU take the PyTorch path, 2 to 10 times slower: native kernels: {why_not()}"
    if say is None:
        warnings.warn(text, stacklevel=2)
    else:
        say(f"warning: {text}")


@contextmanager
def switched_off() -> Iterator[None]:
    """Within it the PyTorch path runs, natively computed or not: for comparing the two."""
    if not _loaded:
        yield
        return
    before = torch.ops.drbench_native.use(False)
    try:
        yield
    finally:
        torch.ops.drbench_native.use(before)


def _load(path: Path) -> bool:
    global _loaded
    try:
        torch.ops.load_library(str(path))  # type: ignore[no-untyped-call]
    except OSError as error:
        why = " ".join(str(error.__cause__ or error).split())[:200]
        _give_up(f"{path} does not load: {why}; `drbench kernels build --force` builds it anew")
        return False
    _loaded = path
    return True


def _give_up(reason: str) -> None:
    global _reason
    _reason = reason


def _to_stderr(text: str) -> None:
    print(f"drbench_kernels: {text}", file=sys.stderr, flush=True)
