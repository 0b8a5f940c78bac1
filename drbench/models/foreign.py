"""Errors of code that is not ours (a user's network, torch's loader), in one line."""

from __future__ import annotations

from drbench.text import printable


def one_line(error: BaseException | None, longest: int = 300) -> str:
    """'RuntimeError: what it said', however many lines it said it in."""
    text = printable(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:longest]}{'...' if len(text) > longest else ''}"
