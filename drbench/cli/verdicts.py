"""Output of verdicts: to stdout in one format, and to files in the formats of their suffixes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from drbench import paths
from drbench.cli.output import screen, target, write
from drbench.errors import InputError, unknown

if TYPE_CHECKING:
    from drbench.check.verdicts import Checked

WIDTH = 120
SUFFIXES: Mapping[str, str] = {
    ".bmf.json": "bmf",
    ".json": "json",
    ".md": "md",
    ".xml": "junit",
    ".txt": "terminal",
}


def outputs(format: str | None, files: Iterable[Path]) -> dict[Path | None, str]:
    """Place (None: stdout) -> format. InputError for an unknown format or suffix."""
    from drbench.check.formats import FORMATS

    if format is not None and format not in FORMATS:
        raise unknown("format", format, FORMATS)
    found: dict[Path | None, str] = {None: format or "terminal"}
    for path in files:
        fitting = next((kind for suffix, kind in SUFFIXES.items() if path.name.endswith(suffix)), None)
        if fitting is None:
            raise InputError(f"-o: got {str(path)!r}; expected a name that ends in one of {', '.join(SUFFIXES)}")
        place = target(path)
        if not paths.is_directory(place.absolute().parent, "-o"):
            raise InputError(f"-o: got {str(path)!r}; expected an existing directory, and {place.parent} is none")
        found[place] = fitting
    return found


def say(checked: Checked, places: Mapping[Path | None, str]) -> None:
    """Write the verdicts to stdout and to the files."""
    from drbench.check.formats import FORMATS

    width, color = screen()
    for path, format in places.items():
        on_screen = path is None
        text = FORMATS[format](checked, (width if on_screen else None) or WIDTH, color and on_screen)
        write(text, path, commands=format == "github")
