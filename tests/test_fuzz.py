"""A short run of the fuzzer (tests/fuzz): a few hostile inputs of every kind. `make fuzz` runs thousands."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.fuzz import material
from tests.fuzz.kinds import KINDS
from tests.fuzz.runner import Case, Result, faults, run_all

SEED = 20261126
CASES = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> material.Material:
    return material.make(tmp_path_factory.mktemp("material"))


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_inputs_end_in_order(kind: str, made: material.Material, tmp_path: Path) -> None:
    cases = []
    for number in range(CASES):
        place = tmp_path / str(number)
        place.mkdir()
        cases.append(KINDS[kind][0](Random(f"{SEED}/{kind}/{number}"), place, made))
    wrong = [
        f"{case.name} {list(case.arguments)!r:.200}: {'; '.join(found)}\n{result.err[-500:]}"
        for case, result in run_all(iter(cases), jobs=1)
        if (found := faults(case, result))
    ]
    assert wrong == []


def test_equal_seeds_make_equal_cases(made: material.Material, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        KINDS["suites"][0](Random("7/suites/3"), tmp_path / name, made)
    assert (tmp_path / "one" / "s.toml").read_bytes() == (tmp_path / "two" / "s.toml").read_bytes()


@pytest.mark.parametrize(
    ("result", "fault"),
    [
        (Result(70, "", "", 0.1), "exit code 70"),
        (Result(-11, "", "", 0.1), "exit code -11"),
        (Result(0, "\x1b[2J", "", 0.1), "stdout: raw characters"),
        (Result(0, "", "Traceback (most recent call last):", 0.1), "a traceback on stderr"),
        (Result(0, "::error::x", "", 0.1), "stdout: a workflow command"),
        (Result(0, "", "u:S3cr3t@h", 0.1), "stderr shows a password"),
        (Result(-9, "", "", 61.0), "it hung"),
    ],
)
def test_the_fuzzer_sees_what_is_wrong(result: Result, fault: str, tmp_path: Path) -> None:
    (first, *_) = faults(Case("x", tmp_path, secrets=("S3cr3t",)), result)
    assert first.startswith(fault)


def test_a_crash_in_a_case_is_seen(tmp_path: Path) -> None:
    import os

    place = tmp_path / "case"
    place.mkdir()
    ((case, result),) = run_all(iter([Case("abort", place, call=os.abort)]), 1)
    assert (result.code, faults(case, result)) == (-6, ["exit code -6"])
