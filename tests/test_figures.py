"""Declarations of figures: what is refused, how values are printed, and the way through a record's settings."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from drbench.errors import InputError
from drbench.figures import BUILT_IN, CLASSIFY, Figure, TaskFigures, as_table, from_table, is_declared, of_settings

ANGLE = Figure("angle_error", "degrees", "lower", 1, "mean angle between prediction and truth", "angle", tolerance=0.5)
VERIFY = TaskFigures("faces:verify", "accuracy", (Figure("accuracy", per_unit=True), ANGLE), "pair")


def test_a_fraction_is_printed_in_per_cent() -> None:
    top1 = CLASSIFY.main
    assert (top1.name, top1.called, top1.printed_unit, top1.sign) == ("top1", "top-1", "%", 1)
    assert (top1.number(0.671), top1.text(0.671), top1.number(-0.0061, signed=True)) == ("67.10", "67.10%", "-0.61")


def test_another_unit_is_printed_as_it_is() -> None:
    assert (ANGLE.called, ANGLE.printed_unit, ANGLE.sign) == ("angle", "degrees", -1)
    assert (ANGLE.number(12.34), ANGLE.text(12.34), ANGLE.number(0.25, 2, signed=True)) == (
        "12.3",
        "12.3 degrees",
        "+0.25",
    )


def test_records_without_a_task_are_of_classification() -> None:
    assert of_settings({}) == of_settings({"task": "classify"}) == CLASSIFY == BUILT_IN["classify"]


def test_a_declaration_passes_through_json_unchanged() -> None:
    stored = json.loads(json.dumps({"task": VERIFY.task, "figures": as_table(VERIFY)}))
    assert of_settings(stored) == VERIFY
    assert VERIFY.validation == "val_accuracy"


def test_what_a_later_version_added_is_left_out() -> None:
    table = as_table(VERIFY)
    table["figures"][0]["colour"] = "red"
    assert from_table(VERIFY.task, {**table, "symbol": "x"}) == VERIFY


def test_a_task_that_was_never_loaded_has_one_figure_and_says_so() -> None:
    found = of_settings({"task": "faces:verify"})
    assert (found.task, len(found.figures), is_declared(found)) == ("faces:verify", 1, False)
    assert is_declared(VERIFY)
    assert is_declared(CLASSIFY)
    with pytest.raises(InputError, match="expected the name of a task"):
        of_settings({"task": 3})


@pytest.mark.parametrize(
    "table",
    [
        None,
        [],
        {},
        {"headline": "a", "figures": {}},
        {"headline": "a", "figures": []},
        {"headline": "a", "figures": [3]},
        {"headline": "b", "figures": [{"name": "a"}]},
        {"headline": "a", "figures": [{"name": "a"}, {"name": "a"}]},
        {"headline": "a", "figures": [{"name": "a", "direction": "up"}]},
        {"headline": ["a"], "figures": [{"name": "a"}]},
    ],
)
def test_a_damaged_table_is_an_input_error(table: object) -> None:
    with pytest.raises(InputError):
        from_table("faces:verify", table)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Angle"},
        {"name": "angle error"},
        {"name": ""},
        {"name": "latency"},
        {"name": "val_angle"},
        {"name": "angle_delta"},
        {"name": "a" * 41},
        {"name": 3},
        {"unit": ""},
        {"unit": 3},
        {"direction": "none"},
        {"digits": -1},
        {"digits": True},
        {"per_unit": True},
        {"tolerance": -1.0},
        {"tolerance": float("nan")},
        {"tolerance": "0.1"},
    ],
)
def test_what_reports_cannot_use_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="expected"):
        replace(ANGLE, **change)  # type: ignore[arg-type]


def test_the_figure_of_a_name() -> None:
    assert VERIFY.figure("angle_error") is ANGLE
    with pytest.raises(InputError, match="unknown figure 'angle_eror': did you mean 'angle_error'"):
        VERIFY.figure("angle_eror")
