"""End a command in order on Ctrl-C, SIGTERM or SIGHUP: one line on stderr, exit code 130.

The first signal raises KeyboardInterrupt in the main thread, and no later one does. A second signal gives the command
GRACE_SECONDS to finish; then the process ends, whatever it is doing. A signal that was ignored when the command started
(nohup, a background job of a shell) stays ignored.

Only the entry points of the command line call `orderly`: a program that imports drbench keeps its own handlers. This
file imports little, so that the handlers are in place early.
"""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType

GRACE_SECONDS = 2.0
"""From the second signal to the end of the process."""
RETRY_SECONDS = 0.01
"""From an interrupt that was lost in a destructor to the next try."""
INTERRUPTED = 130
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))


class Interrupt(KeyboardInterrupt):
    """What the first signal raises. A class of its own, for where a plain KeyboardInterrupt passes through an `exec` of
    text, as in a dataclass, the interpreter ends by SIGINT even if the exception was handled later.
    """


class _State:
    installed = False
    name = ""
    """Of the first signal."""
    shields = 0
    waiting = False
    """The interrupt waits for the end of a shielded block."""
    finished = False


_state = _State()


def orderly(command: Callable[[], int]) -> int:
    """Handle the signals of this process from now on, and call `command`: its exit code, or 130 after a signal.

    To be called in the main thread. `command` says itself that it was interrupted if it returns 130.
    """
    try:
        _install()
        code = command()
        if asked() and code != INTERRUPTED:  # a library swallowed the interrupt
            raise Interrupt
        _state.finished = True  # the exit code is known, and only cleaning up is left
        return code
    except BaseException as error:
        _state.finished = True
        if not (asked() or isinstance(error, KeyboardInterrupt)):  # else the error may be what became of the interrupt
            raise
        _say()
        return INTERRUPTED


def asked() -> bool:
    """Whether a signal has asked this process to end."""
    return bool(_state.name)


def words() -> str:
    """Return "interrupted", with the signal's name unless it was Ctrl-C."""
    return "interrupted" if _state.name in ("", "SIGINT") else f"interrupted by {_state.name}"


class _Shield:
    """A context manager: an interrupt waits for the end of the block. Nests."""

    def __enter__(self) -> None:
        _state.shields += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _state.shields -= 1
        if _state.waiting and not _state.shields:
            _state.waiting = False
            raise Interrupt


shielded = _Shield()
"""For blocks that must not be left halfway: a commit, the end of a process, the removal of a folder."""


def _install() -> None:
    if _state.installed:
        return
    _state.installed = True
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    sys.unraisablehook = _unraisable
    atexit.register(_ignore)  # the first to be registered is the last to run
    reader, writer = _pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    _thread.start_new_thread(_watch, (reader,))


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _state.finished or _state.name:
        return
    _state.name = signal.Signals(number).name
    _raise()


def _raise(*_: object) -> None:
    if _state.finished:
        return
    if _state.shields:
        _state.waiting = True
    else:
        raise Interrupt


def _unraisable(lost: sys.UnraisableHookArgs) -> None:
    """An interrupt within a destructor or a callback goes nowhere: no message, but another interrupt soon after."""
    if not (_state.name and issubclass(lost.exc_type, KeyboardInterrupt)):
        sys.__unraisablehook__(lost)
    elif hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _raise)
        signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)


def _watch(reader: int) -> None:
    """End the process after a second signal, also where the main thread is in native code and sees no signal."""
    count = 0
    while count < 2:
        count += sum(number in SIGNALS for number in os.read(reader, 64))
    time.sleep(GRACE_SECONDS)
    if not _state.finished:
        _say()
    os._exit(INTERRUPTED)


def _say() -> None:
    """One line on stderr, by the shortest way: Python's own stream may be in use by what was interrupted."""
    with suppress(OSError):  # where there is nobody to tell
        os.write(2, f"drbench: error: {words()}\n".encode())


def _pipe() -> tuple[int, int]:
    """A pipe that does not take the place of a standard stream that is closed; the null device does."""
    while True:
        ends = os.pipe()
        if min(ends) > 2:
            return ends
        os.close(ends[0])
        os.close(ends[1])
        os.open(os.devnull, os.O_RDWR)


def _ignore() -> None:
    """The interpreter would put the default handlers back while it ends, and a signal then change the exit code."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
