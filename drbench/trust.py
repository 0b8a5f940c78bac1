"""Code that a file names is imported only where the caller allows it.

A name of the form package.module:callable makes drbench import a module and call something in it. On a command line or
in a suite file the user wrote it. In the header of a model file, or in a run that came with a database, somebody else
may have written it: there it needs the caller's word (`load_model(FILE, trust=(...))`, `--trust NAME`).

A run that this user started needs no such permission to be resumed. The proof is a file next to the run's results: an
HMAC over the run's id and suite, under a key that only this user can read.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from drbench.errors import InputError
from drbench.names import is_import
from drbench.records import Run

ORIGIN = "origin"
"""The file next to a run's results that proves who started it."""


def require(named: Iterable[str], trust: Collection[str], source: str, how: str) -> None:
    """InputError where `named` holds a package.module:callable that `trust` does not; registry names need no trust.

    Args:
        named: the names that `source` gives.
        trust: those that the caller allows, spelt the same.
        source: what named them, for the message: "model file 'm.safetensors'".
        how: how to allow NAME: "--trust NAME"; NAME is replaced.
    """
    if not isinstance(trust, Collection) or isinstance(trust, str) or not all(isinstance(name, str) for name in trust):
        raise InputError(f"trust: got {trust!r:.80}; expected a tuple of names, as in ('own:tiny',)")
    code = {name for name in named if is_import(name)}
    foreign = sorted(code - set(trust))
    if foreign:
        listed = ", ".join(map(repr, foreign))
        allow = " ".join(how.replace("NAME", name) for name in sorted(code))  # all, to be copied
        raise InputError(
            f"{source} names code to import: {listed}. Nothing was imported. If you know this code and its author, "
            f"allow it: {allow}"
        )


def sign(run: Run, files: Path) -> None:
    """Leave the proof in `files`, the run's own folder, that this user began the run.

    Where the key or the proof cannot be written there is none, and resuming asks for --trust.
    """
    with suppress(OSError):
        (files / ORIGIN).write_text(_signature(_key(make=True), run), encoding="ascii")


def is_own(run: Run, files: Path) -> bool:
    """Whether this user began the run, with just this suite, on a machine with this key."""
    try:
        return hmac.compare_digest((files / ORIGIN).read_bytes(), _signature(_key(), run).encode("ascii"))
    except OSError:
        return False


def _signature(key: bytes, run: Run) -> str:
    return hmac.new(key, f"{run.id}\n{run.suite_text}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _key(make: bool = False) -> bytes:
    """The user's key, 32 random bytes; OSError where there is none and none can be made."""
    path = Path(os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()) / "drbench" / "key"
    if make and not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = path.with_name(f"key.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
        with suppress(FileExistsError):  # another process was first: its key counts
            os.link(partial, path)
        partial.unlink()
    return path.read_bytes()
