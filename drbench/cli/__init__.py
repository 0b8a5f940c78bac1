"""The command line. `main` is where every error ends up: one line on stderr and a documented exit code.

Each verb is a file of a few lines over a library call; what a verb needs is imported when it runs, so that help,
completion and mistakes in the command line cost no torch.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from drbench.errors import FAILED, INTERNAL, INTERRUPTED, USAGE, DrbenchError, without_password


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code (see docs/architecture.md) is what comes back."""
    from drbench.cli.app import app

    try:
        code = app(args=None if argv is None else list(argv), prog_name="drbench", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        return complain("interrupted", INTERRUPTED)
    except DrbenchError as error:
        return complain(str(error), error.exit_code)
    except (BrokenPipeError, SystemExit) as error:  # `drbench report | head`: whoever read has had enough
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        return 0
    except Exception as error:
        if type(error).__name__ == "Abort":  # Ctrl-C as typer passes it on
            return complain("interrupted", INTERRUPTED)
        if hasattr(error, "format_message"):  # typer's usage errors, wherever its releases keep their classes
            return complain(f"{error.format_message()} (drbench --help shows how)", USAGE)
        if isinstance(code := getattr(error, "exit_code", None), int):  # drbench_kernels' own
            return complain(str(error), code)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return complain(f"the disk is full: {error.filename or 'no space left'}", FAILED)
        return complain(f"{type(error).__name__}: {error}. This is drbench's own fault; {_report(error)}", INTERNAL)


def complain(message: str, code: int) -> int:
    """One line on stderr, and the code to leave with."""
    print(f"drbench: error: {without_password(' '.join(message.split()))}", file=sys.stderr, flush=True)
    return code


def _report(error: Exception) -> str:
    """Write the traceback to a file; says where it is, or shows its last frame where no file can be written."""
    path = Path(f"drbench-error-{datetime.now(UTC):%Y%m%dT%H%M%S}.txt")
    text = "".join(traceback.format_exception(error))
    try:
        path.write_text(f"{without_password(' '.join(sys.argv))}\n\n{text}", encoding="utf-8")
    except OSError:
        return f"no report could be written; it happened in {traceback.extract_tb(error.__traceback__)[-1]}"
    return f"please send {path}"
