"""A check as text: for people, for GitHub, for programs. Equal checks give equal bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drbench.check.formats.bencher import as_bencher
from drbench.check.formats.document import as_json
from drbench.check.formats.github import as_annotations
from drbench.check.formats.junit import as_junit
from drbench.check.formats.markdown import as_markdown
from drbench.check.formats.terminal import as_terminal
from drbench.check.verdicts import Checked

Renderer = Callable[[Checked, int, bool], str]

FORMATS: Mapping[str, Renderer] = {
    "terminal": as_terminal,
    "md": as_markdown,
    "json": as_json,
    "bmf": as_bencher,
    "junit": as_junit,
    "github": as_annotations,
}
"""Name -> (check, width, colour) -> text; width and colour are for the terminal."""
