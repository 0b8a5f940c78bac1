from __future__ import annotations

import tomllib
from typing import Any

import pytest

from drbench.suite import toml


@pytest.mark.parametrize(
    "table",
    [
        {"a": 1, "b": -0.5, "c": True, "d": "x"},
        {"text": 'quote " back \\ newline \n tab \t delete \x7f snowman \u2603 astral \U0001f600'},
        {"list": [1, 2], "empty": [], "tables": [{"a": 1}, {"b": {"c": [True]}}], "nothing": {}},
        {"odd key": 1, "a.b": {"": 2}},
    ],
)
def test_toml_text_is_read_back_by_the_standard_library(table: dict[str, Any]) -> None:
    assert tomllib.loads(toml.dumps(table)) == table
