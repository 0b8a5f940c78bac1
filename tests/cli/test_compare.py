"""`drbench compare`, through the real command."""

from __future__ import annotations

import json

import pytest

from tests.books import MORE
from tests.cli.test_check import keep

FIRST, SECOND = "20261101-1200-two-ab12", "20261101-1200-two-cd34"
QUIET = (0.001, -0.001, 0.0005, 0.0, -0.0005)


@pytest.fixture
def two(drbench, book):
    """The second one costs more, and its ratio is 10% higher."""
    keep(
        book().costs().latency([0.1 + one for one in QUIET], QUIET),
        book("cd34").costs(layers=MORE).latency([0.2 + one for one in QUIET], QUIET),
    )


def test_ratio_interval_and_verdict(two, drbench) -> None:
    found = drbench("compare", FIRST, SECOND, "--format", "json")
    assert found.code == 1
    document = json.loads(found.out)
    assert (document["run"], document["reference"]) == (SECOND, FIRST)
    (ratio,) = (row for row in document["verdicts"] if row["metric"] == "latency")
    assert ratio["outcome"] == "regression"
    assert ratio["effect"] == pytest.approx(1.10517, abs=1e-4)
    assert ratio["interval"][0] < ratio["effect"] < ratio["interval"][1]
    (madds,) = (row for row in document["verdicts"] if row["figure"] == "madds")
    assert (madds["now"] - madds["before"], madds["outcome"]) == (6912, "regression")


def test_the_other_way_round_it_is_better(two, drbench) -> None:
    found = drbench("compare", SECOND, FIRST)
    assert found.code == 0
    assert "improvement" in found.out


def test_only_some_metrics(two, drbench) -> None:
    found = drbench("compare", FIRST, SECOND, "--metrics", "latency", "--limit", "latency=0.2")
    assert found.code == 0
    assert "params" not in found.out


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("2019", SECOND), 2, "no run '2019'"),
        ((FIRST, "2019"), 2, "no run '2019'"),
        ((FIRST, FIRST), 2, "expected two runs"),
        ((FIRST, SECOND, "--metrics", "memory"), 3, "no records of memory"),
        ((FIRST, SECOND, "--only", "nothing"), 3, "--only nothing selects no variant"),
    ],
)
def test_wrong_input_is_one_line(two, drbench, arguments, code: int, part: str) -> None:
    found = drbench("compare", *arguments)
    assert (found.code, found.out) == (code, "")
    assert found.err.count("\n") == 1
    assert part in found.err
