"""Variants that somebody else wrote down: what drbench writes is read back equal, what is wrong is one line."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from drbench.errors import InputError
from drbench.records import Variant
from drbench.suite.plan import variants
from drbench.suite.read import read_suite, shipped
from drbench.variant_table import of_arguments, variant_of

BARE = {"architecture": "mobilenet_v2_1.00"}


@pytest.mark.parametrize("suite", shipped())
def test_every_variant_of_the_shipped_suites_is_read_back_equal(suite):
    found = [row[0] for rows in variants(read_suite(suite)).values() for row in rows]
    found += [replace(one, width=0.7681) for one in found if one.match]
    assert found
    for one in found:
        again = variant_of(json.loads(json.dumps(asdict(one))), "a file")
        assert again == one
        assert isinstance(again.where, tuple)
        assert isinstance(again.input_shape, tuple)


def test_a_field_that_is_not_there_has_its_default():
    assert variant_of(BARE, "a file") == Variant("mobilenet_v2_1.00")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": "10"}, "a file: variant.num_classes: got '10'; expected a valid integer"),
        ({"num_classes": True}, "a file: variant.num_classes: got True; expected a valid integer"),
        (
            {"num_classes": 10**18},
            "variant.num_classes: got 1000000000000000000; expected less than or equal",
        ),
        (
            {"num_classes": 10**5000},
            "a file: variant: num_classes: got a whole number of 16,611 bits; expected at most 64 bits",
        ),
        ({"input_shape": [3, -1, 32]}, "a file: variant.input_shape.1: got -1; expected greater than 0"),
        ({"input_shape": [512, 60000, 60000]}, "expected an input of at most 2,147,483,648 elements"),
        ({"where": []}, "a file: variant.where: got []; expected at least 1"),
        ({"width": float("nan")}, "a file: variant: width: got nan; expected a finite number"),
        ({"colour": 1}, "a file: variant.colour: no such field is known; expected architecture, operator,"),
        ({"architecture": "a\nb"}, "a file: variant.architecture: got 'a\\nb'; expected text that matches"),
        ({"operator_args": {1: 2}}, "a file: variant: operator_args has a key that is not text: 1"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    with pytest.raises(InputError) as raised:
        variant_of(BARE | change, "a file")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("table", [None, [], "x", 7, [[["x"]]]])
def test_what_is_no_table(table):
    with pytest.raises(InputError, match="expected a table of a network's fields"):
        variant_of(table, "a file")


def test_a_missing_name():
    with pytest.raises(InputError, match=r"a file: variant\.architecture is missing"):
        variant_of({}, "a file")


def test_integers_of_numpy_are_integers_of_a_caller():
    given = {"architecture": "net", "num_classes": np.int64(4), "input_shape": (np.int32(3), 32, 32)}
    found = of_arguments(given)
    assert (found.num_classes, found.input_shape) == (4, (3, 32, 32))
    assert {type(n) for n in (found.num_classes, *found.input_shape)} == {int}
    for wrong in (True, 4.0, np.float64(4), "4"):
        with pytest.raises(InputError, match="num_classes"):
            of_arguments({**given, "num_classes": wrong})
