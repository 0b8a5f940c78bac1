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

import torch

from drbench_kernels.native.build import BuildError, build, library

__all__ = ["ensure", "kernels", "on_import", "ready", "switched_off", "warn_once", "why_not"]

_loaded = False
_reason = "not built; `drbench kernels build` does it in about 20 seconds, DRBENCH_NATIVE=build when importing"
_warned = False


def _wish() -> str:
    return os.environ.get("DRBENCH_NATIVE", "auto")


def ready() -> bool:
    """Whether region convolutions on the CPU run natively."""
    return _loaded and kernels() != "none"


def kernels() -> str:
    """ "avx2", "avx512" or "neon": the kernels for this processor; "none" where nothing is loaded."""
    return str(torch.ops.drbench_native.kernels()) if _loaded else "none"


def why_not() -> str:
    """Why the native kernels are not ready, in one line; "" where they are."""
    if not _loaded:
        return _reason
    return "" if ready() else f"this processor has neither AVX2 nor NEON ({torch.backends.cpu.get_cpu_capability()})"


def ensure(say: Callable[[str], object] | None = None) -> bool:
    """Build what is not built, and load it: before timed work, never in the middle. False, after one warning, if not.

    `say` gets a line where this takes a while; stderr by default.
    """
    if _loaded or _wish() == "off":
        return ready()
    try:
        _load(str(library(exact=True) or build(say or _to_stderr)))
    except BuildError as error:
        found = library()
        if found is None:
            _give_up(str(error))
            warn_once()
        else:
            _load(str(found))
    return ready()


def on_import() -> None:
    """What importing does: load a library that is there; build one only where DRBENCH_NATIVE=build asks for it."""
    wish = _wish()
    if wish not in ("auto", "build", "off"):
        raise ValueError(f"DRBENCH_NATIVE is {wish!r}: allowed are auto, build and off")
    if wish == "off":
        _give_up("switched off by DRBENCH_NATIVE=off")
    elif wish == "build":
        ensure()
    elif (found := library()) is not None:
        _load(str(found))


def warn_once() -> None:
    """Say that the slower path runs, and why; silent where somebody asked for it."""
    global _warned
    if _warned or ready() or _wish() == "off":
        return
    _warned = True
    warnings.warn(
        f"region convolutions on the CPU take the PyTorch path, 2 to 10 times slower: native kernels {why_not()}",
        stacklevel=2,
    )


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


def _load(path: str) -> None:
    global _loaded
    try:
        torch.ops.load_library(path)  # type: ignore[no-untyped-call]
    except OSError as error:
        _give_up(f"{path} does not load: {' '.join(str(error).split())[:200]}")
        warn_once()
        return
    _loaded = True


def _give_up(reason: str) -> None:
    global _reason
    _reason = reason


def _to_stderr(text: str) -> None:
    print(f"drbench_kernels: {text}", file=sys.stderr, flush=True)
