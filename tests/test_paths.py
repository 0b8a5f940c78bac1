"""Paths that users name: each way in which one cannot be used is one line, and none of them hangs."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drbench import paths
from drbench.errors import InputError

Command = Callable[..., Any]
LONG = "n" * 300

WRONG = {
    "empty": ("", "got ''; expected a path"),
    "a NUL": ("a\0b.db", r"got 'a\x00b.db'; expected a path without NUL characters"),
    "a user that is not there": ("~nouser/x.db", "There is no user 'nouser'"),
    "a loop of links": ("loop.db", "Too many levels of symbolic links"),
    "a loop on the way": ("loop.db/x.db", "Too many levels of symbolic links"),
    "a name too long": (f"{LONG}.db", "File name too long"),
    "a folder's name too long": (f"{LONG}/x.db", "File name too long"),
    "below a file": ("file.db/x.db", "Not a directory"),
    "a FIFO": ("fifo.db", "a FIFO; expected a file"),
    "a socket": ("socket.db", "a socket; expected a file"),
    "a device": ("/dev/zero", "a device; expected a file"),
    "a directory": ("folder.db", "a directory"),
    "nothing": ("nothing.db", "No such file"),
}


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current directory, with one of each."""
    monkeypatch.chdir(tmp_path)
    Path("loop.db").symlink_to("loop.db")
    Path("file.db").write_text("text")
    os.mkfifo("fifo.db")
    Path("folder.db").mkdir()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket.db")


@pytest.mark.parametrize(("given", "says"), WRONG.values(), ids=WRONG)
def test_what_is_no_file_is_said_in_one_line(given: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        paths.regular(given, "database")
    assert says in str(error.value)
    assert str(error.value).startswith("database: got ")
    assert len(str(error.value)) < 500
    assert str(error.value).isprintable()


def test_a_file_and_a_link_to_it_are_files(tmp_path: Path) -> None:
    Path("link.db").symlink_to("file.db")
    assert paths.regular("link.db", "x").read_text() == "text"
    assert paths.regular(tmp_path / "file.db", "x") == tmp_path / "file.db"


def test_a_home_directory_is_looked_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.expanded("~/file.db", "x") == tmp_path / "file.db"
