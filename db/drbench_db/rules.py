"""What each column of the tables may hold. SQLite stores any type in any column.

A rule looks at a whole column at once, so that 100,000 figures cost milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Cast, Column, Float, Integer, Label, LargeBinary, String, TypeCoerce

from drbench.records import NOISE, OPS, STAGES
from drbench_db import schema, shapes
from drbench_db.shapes import LARGEST, Fault, Shape

NONE = type(None)


@dataclass(frozen=True)
class Rule:
    """Values of these Python types that pass the test; None passes where its type is allowed."""

    expected: str
    types: frozenset[type]
    test: Callable[[Any], bool] | None = None

    def wrong(self, value: Any) -> Fault | None:
        """What is wrong with a value."""
        if type(value) in self.types and (value is None or self.test is None or self.test(value)):
            return None
        return ("", value, self.expected)

    def faults(self, values: Sequence[Any]) -> dict[int, Fault]:
        """Position -> what is wrong there."""
        if set(map(type, values)) <= self.types and (self.test is None or self._all(set(values))):
            return {}
        return {place: fault for place, value in enumerate(values) if (fault := self.wrong(value))}

    def _all(self, distinct: set[Any]) -> bool:
        assert self.test is not None
        distinct.discard(None)
        return all(map(self.test, distinct))


@dataclass(frozen=True)
class JsonRule:
    """JSON text of a shape."""

    shape: Shape

    def wrong(self, value: Any) -> Fault | None:
        """What is wrong with a text."""
        try:
            return self.shape(shapes.decoded(value))
        except ValueError as error:
            return ("", value, str(error))

    def faults(self, values: Sequence[Any]) -> dict[int, Fault]:
        """Position -> what is wrong there."""
        known = {value: self.wrong(value) for value in set(values)}
        if not any(known.values()):
            return {}
        return {place: fault for place, value in enumerate(values) if (fault := known[value])}


def _is_text(value: str) -> bool:
    """Whether it can be written as UTF-8: bytes that were no UTF-8 come as half surrogate pairs."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def text(*, null: bool = False, length: int | None = None) -> Rule:
    """UTF-8 text."""
    test = _is_text if length is None else lambda value: len(value) <= length and _is_text(value)
    limit = "" if length is None else f" of at most {length} characters"
    return Rule(f"text{limit}", frozenset({str, NONE} if null else {str}), test)


def integer(low: int, high: int, *, null: bool = False) -> Rule:
    """An integer within these, both included."""
    inside = range(low, high + 1).__contains__
    return Rule(f"a whole number from {low} to {high}", frozenset({int, NONE} if null else {int}), inside)


def number(test: Callable[[Any], bool], expected: str = "a number", *, null: bool = True) -> Rule:
    """An integer or float."""
    return Rule(expected, frozenset({int, float, NONE} if null else {int, float}), test)


def one_of(*words: str) -> Rule:
    """One of these texts."""
    return Rule(f"one of {', '.join(words)}", frozenset({str}), frozenset(words).__contains__)


def there(what: str) -> Rule:
    """The key of a row in another table, None where there is no such row."""
    return Rule(f"a {what} that is in the database", frozenset({int, str}))


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")


def _is_time(value: str) -> bool:
    if not _TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _within(value: float) -> bool:
    return -LARGEST <= value <= LARGEST


def _at_least_zero(value: float) -> bool:
    return 0 <= value <= LARGEST


TIME = Rule("a time, as in 2026-01-31T12:00:00Z", frozenset({str}), _is_time)
TIME_OR_NONE = Rule(TIME.expected, TIME.types, lambda value: value == "" or _is_time(value))
BLOB = Rule("bytes", frozenset({bytes, memoryview}))
DOUBLES = Rule("doubles of 8 bytes each", BLOB.types, lambda value: len(value) % 8 == 0)
TRUTH = Rule("0 or 1", frozenset({int, bool}), frozenset({0, 1}).__contains__)
LOSS = Rule("a number", frozenset({int, float, NONE}))  # a loss may have gone to infinity
FIGURE = number(_within)
SHARE = number(lambda value: 0 <= value <= 1, "a number from 0 to 1")
RATE = number(_at_least_zero, "a number, at least 0", null=False)
RUN_ID = Rule(
    "text of 1 to 128 printable characters",
    frozenset({str}),
    lambda value: 0 < len(value) <= 128 and value.isprintable(),
)
SUITE_TEXT = Rule(
    "TOML", frozenset({str}), lambda value: _is_text(value) and shapes.suite_text(value) is None
)  # fmt: skip

_SPECIAL: Mapping[tuple[str, str], Rule | JsonRule] = {
    ("suite", "text"): SUITE_TEXT,
    ("run", "id"): RUN_ID,
    ("record", "run_id"): RUN_ID,
    ("run", "started"): TIME,
    ("run", "finished"): TIME_OR_NONE,
    ("run", "status"): one_of("running", "done", "failed", "interrupted"),
    ("variant", "architecture_args"): JsonRule(shapes.arguments),
    ("variant", "definition"): JsonRule(shapes.DEFINITION),
    ("variant", "width"): number(lambda value: 0 < value <= LARGEST, "a number above 0"),
    ("record", "stage"): one_of(*STAGES, NOISE, OPS),
    ("record", "status"): one_of("done", "failed", "interrupted"),
    ("record", "started"): TIME,
    ("record", "finished"): TIME,
    ("record", "settings"): JsonRule(shapes.SETTINGS),
    ("record", "notes"): JsonRule(shapes.NOTES),
    ("measurement", "direction"): one_of("lower", "higher", "none"),
    ("measurement", "batch_size"): integer(1, 2**31 - 1, null=True),
    ("measurement", "context"): JsonRule(shapes.CONTEXT),
    ("sample", "float64"): DOUBLES,
    ("layer", "output_shape"): JsonRule(shapes.OUTPUT_SHAPE),
    ("layer", "parts"): JsonRule(shapes.PARTS),
    ("epoch", "train_loss"): LOSS,
    ("epoch", "val_loss"): LOSS,
    ("epoch", "val_score"): FIGURE,
    ("epoch", "learning_rate"): RATE,
    ("epoch", "images_per_second"): RATE,
    ("epoch", "seconds"): RATE,
}


def _usual(column: Column[Any]) -> Rule:
    """By the column's type; no number in these tables is negative but a seed and a figure."""
    null, kind = bool(column.nullable), column.type
    low = -(2**63) if column.name in ("seed", "id", "record_id") or column.name.endswith("_id") else 0
    if isinstance(kind, Boolean):
        return TRUTH
    if isinstance(kind, BigInteger):
        return integer(low, 2**63 - 1, null=null)
    if isinstance(kind, Integer):
        return integer(low, 2**31 - 1, null=null)
    if isinstance(kind, Float):
        return FIGURE
    if isinstance(kind, LargeBinary):
        return BLOB
    assert isinstance(kind, String), column
    return text(null=null, length=kind.length)


RULES: Mapping[tuple[str, str], Rule | JsonRule] = {
    (table.name, column.name): _SPECIAL.get((table.name, column.name)) or _usual(column)
    for table in schema.Base.metadata.tables.values()
    for column in table.columns
}
"""(table, column) -> its rule."""


def of(selected: Any) -> tuple[str, Rule | JsonRule | None]:
    """(table, rule) of what a question selects: a column, cast or renamed; the rule is None for what is computed."""
    element = selected
    while isinstance(element, Label | Cast | TypeCoerce):
        element = element.clause if isinstance(element, Cast | TypeCoerce) else element.element
    if not isinstance(element, Column):
        return "", None
    if selected.name.startswith("_"):
        return element.table.name, there(element.table.name)
    return element.table.name, RULES[element.table.name, element.name]
