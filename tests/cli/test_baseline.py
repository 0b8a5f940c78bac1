"""`drbench baseline`, through the real command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.books import LAYERS
from tests.cli.test_check import keep

FILE = Path("drbench.baseline.json")


@pytest.fixture
def saved(drbench, book):
    keep(book().costs().costs("net/drconv m=8").memory(2**20), book("cd34").costs(layers=LAYERS[:2]).costs("net/new"))
    found = drbench("baseline", "save", "--run", "20261101-1200-two-ab12")
    assert found.code == 0
    return FILE.read_bytes()


def test_saving_twice_changes_no_byte(saved, drbench) -> None:
    assert drbench("baseline", "save", "--run", "20261101-1200-two-ab12").code == 0
    assert FILE.read_bytes() == saved


def test_only_some(saved, drbench) -> None:
    FILE.unlink()
    options = ("--run", "20261101-1200-two-ab12", "--only", "*/conv", "--metrics", "memory")
    found = drbench("baseline", "save", *options, "--baseline", "small.json")
    assert found.out.startswith("small.json: 1 variants of suite two (memory)")
    assert "drconv" not in Path("small.json").read_text()
    assert not FILE.exists()


def test_list_and_show(saved, drbench) -> None:
    found = drbench("baseline", "list")
    assert found.code == 0
    assert "net/drconv m=8" in found.out
    assert "costs, memory" in found.out
    shown = drbench("baseline", "show", "--only", "net/conv").out
    assert "25,424 multiply-adds, 486 parameters" in shown
    assert "host: 1.0 MiB" in shown
    assert "drconv" not in shown
    assert "2026-11-01T12:00:00Z" in shown
    assert "c0ffee" in shown


def test_remove(saved, drbench) -> None:
    found = drbench("baseline", "remove", "--only", "*drconv*")
    assert (found.code, found.out) == (0, "removed net/drconv m=8 of suite two\n")
    assert "drconv" not in FILE.read_text()
    assert drbench("baseline", "remove", "--only", "*drconv*").code == 3


def test_an_intended_change_is_accepted_with_its_reason(saved, drbench) -> None:
    assert drbench("check", "--run", "latest", "--only", "net/conv").code == 0  # an improvement
    accept = ("baseline", "accept", "--only", "net/conv", "--metric", "costs", "--reason", "no head:\n  not needed")
    found = drbench(*accept)
    assert found.code == 0
    assert "madds 25424 -> 25344 multiply-adds" in found.out
    text = FILE.read_text()
    assert '"change": "madds 25424 -> 25344 multiply-adds; params 486 -> 396 parameters"' in text
    assert '"reason": "no head: not needed"' in text
    assert "stale" not in drbench("check", "--run", "latest", "--only", "net/conv").out
    assert "no head: not needed" in drbench("baseline", "show").out
    assert drbench(*accept).code == 3  # nothing is left to accept
    assert FILE.read_text() == text


def test_only_what_is_named_is_accepted(saved, drbench) -> None:
    found = drbench("baseline", "accept", "--only", "net/new", "--metric", "costs", "--reason", "why not")
    assert found.code == 3
    assert FILE.read_bytes() == saved


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("save", "--run", "2019"), 2, "no run '2019'"),
        (("save", "--metrics", "speed"), 2, "unknown metric 'speed'"),
        (("save", "--only", "nothing"), 3, "nothing to save for nothing"),
        (("save", "--baseline", "no/b.json"), 2, "cannot be written"),
        (("save", "--db", "none.db"), 2, "there is no database none.db"),
        (("list", "--baseline", "none.json"), 2, "there is no baseline none.json"),
        (("list", "--suite", "tow"), 2, "did you mean 'two'"),
        (("show", "--only", "nothing"), 3, "no such variant"),
        (("remove", "--only", "nothing"), 3, "has no variant that matches nothing"),
        (("accept", "--only", "*", "--metric", "costs", "--reason", " "), 2, "--reason"),
        (("accept", "--only", "*", "--metric", "speed", "--reason", "x"), 2, "unknown metric 'speed'"),
        (("accept", "--only", "*", "--metric", "top1", "--reason", "x"), 3, "no records of train"),
    ],
)
def test_wrong_input_is_one_line_and_changes_nothing(saved, drbench, arguments, code: int, part: str) -> None:
    found = drbench("baseline", *arguments)
    assert (found.code, found.out) == (code, "")
    assert found.err.count("\n") == 1
    assert part in found.err
    assert FILE.read_bytes() == saved


def test_what_failed_is_not_saved(drbench, book) -> None:
    keep(book().costs().record("cost", "net/drconv m=8", status="failed", error="timeout: 60 s"))
    found = drbench("baseline", "save")
    assert found.code == 0
    assert "left out: costs of net/drconv m=8, which failed: timeout: 60 s" in found.err
    assert "drconv" not in FILE.read_text()
