"""The command line. `main` turns each error into one line on stderr and a documented exit code.

Each command is a file of a few lines over a library call. It imports what it needs when it runs, so that --help,
completion and usage errors do not load torch.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from drbench import interrupts, passwords, streams
from drbench.cli.output import complain, hidden
from drbench.errors import DONE, FAILED, INTERNAL, INTERRUPTED, NOTHING, REGRESSION, UNRESOLVED, USAGE, DrbenchError
from drbench.text import CELL, printable


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (docs/architecture.md).

    Without `argv`: run the command line of this process, and end in order on Ctrl-C, SIGTERM and SIGHUP.
    """
    if argv is None:
        return interrupts.orderly(lambda: main(sys.argv[1:]))
    with streams.guarded() as (stdout, _):
        code = _run(argv)
        stdout.flush()
        if stdout.failed is not None and not isinstance(stdout.failed, BrokenPipeError):
            lost = complain(f"stdout could not be written: {stdout.failed.strerror}", FAILED)
            code = lost if code in (DONE, REGRESSION, NOTHING, UNRESOLVED) else code
    return code


def _run(argv: Sequence[str]) -> int:
    from drbench.cli.app import app

    try:
        code = app(args=list(argv), prog_name="drbench", standalone_mode=False)
        if code == INTERRUPTED:  # as typer passes it on
            raise KeyboardInterrupt
        return code if isinstance(code, int) else DONE
    except KeyboardInterrupt:
        return complain(interrupts.words(), INTERRUPTED)
    except DrbenchError as error:
        if interrupts.asked() and error.exit_code != INTERRUPTED:  # a consequence of the interrupt
            return complain(interrupts.words(), INTERRUPTED)
        return complain(str(error), error.exit_code)
    except Exception as error:
        if interrupts.asked() or type(error).__name__ == "Abort":  # Ctrl-C as older typer passes it on
            return complain(interrupts.words(), INTERRUPTED)
        if hasattr(error, "format_message"):  # typer's usage errors, wherever its releases keep their classes
            message = error.format_message()  # empty where help was printed because no command was given
            command = getattr(getattr(error, "ctx", None), "command_path", "drbench")
            return complain(f"{message} (see {command} --help)", USAGE) if message else USAGE
        if isinstance(code := getattr(error, "exit_code", None), int):  # drbench_kernels' own
            return complain(str(error), code)
        if isinstance(error, UnicodeEncodeError) and error.encoding == "utf-8":  # a lone surrogate
            return complain(f"got '{printable(error.object, CELL)}'; expected text in UTF-8", USAGE)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return complain(f"the disk is full: {error.filename or 'no space left'}", FAILED)
        return complain(f"{type(error).__name__}: {error}. This is a bug in drbench; {_report(error)}", INTERNAL)


def _report(error: Exception) -> str:
    """Write the traceback to a file; return where it is, or its last frame if no file can be written."""
    path = Path(f"drbench-error-{datetime.now(UTC):%Y%m%dT%H%M%S}.txt")
    text = "".join(traceback.format_exception(error))
    lines = [" ".join(["drbench", *passwords.masked_command(sys.argv[1:])]), "", *hidden(text).split("\n")]
    try:
        path.write_text("\n".join(map(passwords.without_password, lines)), encoding="utf-8", errors="backslashreplace")
    except OSError:
        return f"no report could be written; it happened in {traceback.extract_tb(error.__traceback__)[-1]}"
    return f"please send {path}"
