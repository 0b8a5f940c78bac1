"""What is the same and what is not, in one place for report, check, resume and checkpoints."""

from __future__ import annotations

from dataclasses import replace

from drbench import conditions
from tests.books import MACHINE, Book


def latency_record(**settings: object):
    (record,) = Book().latency([0.1, 0.2]).records
    return replace(record, settings=settings)


def test_threads_and_device_do_not_make_another_training() -> None:
    recipe = {"epochs": 3, "threads": 2, "device": "cpu", "loader_workers": 4}
    assert conditions.of_recipe(recipe) == {"epochs": 3}


def test_a_protocol_that_is_not_named_is_the_first() -> None:
    assert conditions.differences({"counting": None}, {"counting": 1}) == {}
    assert conditions.differences({}, {"timing": 1}) == {}
    assert conditions.differences({}, {"timing": 2}) == {"timing": (1, 2)}
    assert conditions.differences({"torch": None}, {"torch": "2.14"}) == {"torch": (None, "2.14")}


def test_times_of_another_protocol_are_not_comparable() -> None:
    before = conditions.of_machine(latency_record(), MACHINE, {"threads": 2})
    now = conditions.of_machine(latency_record(timing=2), MACHINE, {"threads": 2})
    assert conditions.differences(before, now) == {"timing": (1, 2)}


def test_a_record_is_judged_by_its_own_machine() -> None:
    record = replace(latency_record(), machine=replace(MACHINE, cpu="another CPU"))
    assert conditions.of_machine(record, MACHINE, {})["device"] == "another CPU"
    assert conditions.of_machine(latency_record(), MACHINE, {})["device"] == MACHINE.cpu


def test_a_run_is_resumed_on_a_machine_like_its_own_whatever_its_name() -> None:
    before = conditions.of_resuming(MACHINE, {"timing": 1})
    assert conditions.differences(before, conditions.of_resuming(replace(MACHINE, hostname="b"), {"timing": 1})) == {}
    other = conditions.of_resuming(replace(MACHINE, torch="2.15", cores=8), {"timing": 2})
    assert set(conditions.differences(before, other)) == {"torch", "cores", "timing protocol"}
