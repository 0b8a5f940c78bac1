"""What nested values from outside may hold."""

from __future__ import annotations

from datetime import date

import pytest

from drbench import bounds
from drbench.bounds import wrong


def nested(depth, make):
    value = 1
    for _ in range(depth):
        value = make(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**63),
        2**63 - 1,
        1.5,
        "text",
        [],
        {},
        {"a": [1, {"b": None}]},
        nested(bounds.DEPTH, lambda inner: [inner]),
        "x" * bounds.TEXT,
        [0] * (bounds.ITEMS - 1),
    ],
)
def test_what_is_allowed(value):
    assert wrong(value) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2**63, "got a whole number of 65 bits; expected at most 64 bits"),
        ({"a": {"b": 10**5000}}, "a.b: got a whole number of 16,611 bits; expected at most 64 bits"),
        ({"a": [0, float("nan")]}, "a.1: got nan; expected a finite number"),
        (float("inf"), "got inf; expected a finite number"),
        ("x" * (bounds.TEXT + 1), "got 10,001 characters; expected at most 10,000"),
        ("a\0b", "got text with NUL; expected text without it"),
        ({"a": date(1979, 5, 27)}, "a: got a date; expected text, a number, true or false, a list or a table"),
        ({1: 2}, "a table has a key that is not text: 1"),
        ({"a": {"x" * 300: 1}}, "a has a key of more than 200 characters, or with NUL in it"),
        (nested(bounds.DEPTH + 1, lambda inner: [inner]), "it is nested more than 16 levels deep"),
        (nested(100_000, lambda inner: {"a": inner}), "it is nested more than 16 levels deep"),
        ("caf\udce9", "got 'caf\\xe9'; expected text in UTF-8"),
        ({"a": ["\ud800"]}, "a.0: got '\\ud800'; expected text in UTF-8"),
        ([0] * bounds.ITEMS, "it holds more than 100,000 values"),
    ],
    ids=range(14),
)
def test_what_is_not(value, message):
    assert wrong(value) == message
