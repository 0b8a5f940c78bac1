"""A Variant from a table that somebody else wrote (a model file's header, a database): strict, bounded, in one line."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from drbench import bounds
from drbench.errors import InputError
from drbench.records import PLAIN, Variant

Name = Annotated[str, StringConstraints(min_length=1, max_length=bounds.NAME, pattern=bounds.NAME_PATTERN)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,64}$")]


_TABLES = ("operator_args", "where_args", "architecture_args")


def _tuple(value: object) -> object:
    """JSON has lists where records have tuples."""
    return tuple(value) if isinstance(value, list) else value


def _elements(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    if shape[0] * shape[1] * shape[2] > bounds.ELEMENTS:
        raise ValueError(f"an input of at most {bounds.ELEMENTS:,} elements")
    return shape


def _bounded(value: dict[str, Any]) -> dict[str, Any]:
    if message := bounds.wrong(value):
        raise ValueError(f"a table of plain values: {message}")
    return value


Arguments = Annotated[dict[str, Any], AfterValidator(_bounded)]
Classes = Annotated[int, Field(gt=0, le=bounds.CLASSES)]
Channels = Annotated[int, Field(gt=0, le=bounds.CHANNELS)]
Side = Annotated[int, Field(gt=0, le=bounds.SIDE)]
Width = Annotated[float, Field(gt=0, le=bounds.WIDTH, allow_inf_nan=False)]
InputShape = Annotated[tuple[Channels, Side, Side], AfterValidator(_elements)]


class _VariantTable(BaseModel):
    """As records.Variant, field for field."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    architecture: Name
    operator: Name = PLAIN
    operator_args: Arguments = {}
    where: Annotated[tuple[Name, ...], BeforeValidator(_tuple), Field(min_length=1, max_length=bounds.ITEMS)] = (
        "last-pointwise",
    )
    where_args: Arguments = {}
    init: Literal["fresh", "preserve"] = "fresh"
    input_shape: Annotated[InputShape, BeforeValidator(_tuple)] = (3, 224, 224)
    num_classes: Classes = 1000
    stem_stride: Side | None = None
    architecture_args: Arguments = {}
    match: Literal["madds", "params"] | None = None
    matched_to: Digest | None = None
    width: Width | None = None
    sources: dict[Name, Digest] = {}
    task: Name = "classify"


def variant_of(table: object, source: str) -> Variant:
    """The Variant that `table` describes; fields that it lacks have their defaults.

    InputError in one line, beginning with `source`, for anything that is not such a table: a wrong type, a number out
    of bounds, an unknown or missing field, nesting without end.
    """
    if not isinstance(table, dict):
        raise InputError(f"{source}: variant: got {short(table)}; expected a table of a network's fields")
    if message := bounds.wrong(table):
        raise InputError(f"{source}: variant: {message}")
    try:
        checked = _VariantTable.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(f"{source}: variant.{_complaint(first)}") from error
    return Variant(**{field.name: getattr(checked, field.name) for field in fields(Variant)})


def of_arguments(arguments: Mapping[str, Any]) -> Variant:
    """The Variant of a caller's arguments, named as its fields.

    As strict as `variant_of`, but the tables of further arguments hold what the callables take, which may be anything.
    InputError in one line, beginning with the argument's name.
    """
    tables = {name: arguments[name] for name in _TABLES if name in arguments}
    for name, table in tables.items():
        if not isinstance(table, Mapping) or not all(isinstance(key, str) for key in table):
            raise InputError(f"{name}: got {short(table)}; expected a mapping of names to values")
    whole = {name: _whole(arguments[name]) for name in _WHOLE if name in arguments}
    try:
        checked = _VariantTable.model_validate({**arguments, **whole, **{name: {} for name in tables}})
    except ValidationError as error:
        raise InputError(_complaint(error.errors(include_url=False)[0])) from error
    found = {field.name: getattr(checked, field.name) for field in fields(Variant)}
    return Variant(**{**found, **{name: dict(table) for name, table in tables.items()}})


_WHOLE = ("num_classes", "stem_stride", "input_shape")
"""Whole numbers, which may come as another type of integer: numpy's, torch's."""


def _whole(value: Any) -> Any:
    """An integer of any type as int, also in a tuple; other values as they are."""
    if isinstance(value, tuple | list):
        return tuple(map(_whole, value))
    return operator.index(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def _complaint(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    match error["type"]:
        case "extra_forbidden":
            return f"{where:.80}: no such field is known; expected {', '.join(_VariantTable.model_fields)}"
        case "missing":
            return f"{where} is missing"
    return f"{where:.80}: got {short(error['input'])}; expected {expected(error['msg'])}"


def expected(message: str) -> str:
    """What pydantic says a value should be or have: the words after "should be" or "should have".

    >>> expected("String should have at most 200 characters"), expected("Value error, a table")
    ('at most 200 characters', 'a table')
    """
    _, should, words = message.partition(" should ")
    if not should:
        return message.removeprefix("Value error, ")
    return words.removeprefix("be ").removeprefix("have ").replace("match pattern", "text that matches the pattern")


def short(value: object) -> str:
    """The value as Python writes it, in at most some 80 characters."""
    if isinstance(value, dict | list | tuple | str) and len(value) > 60:
        return f"a {type(value).__name__} of {len(value):,}"
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python prints
        return f"a {type(value).__name__} too large to print"
    return text if len(text) <= 80 else f"{text[:77]}..."
