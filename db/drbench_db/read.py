"""Rows to records; `rows` is the way there. What a column lacks (NULL) comes back as NaN where a number must stand."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import fields
from sys import byteorder
from typing import Any

from sqlalchemy import Result, RowMapping

from drbench.records import Code, Epoch, LayerCost, Machine, Measurement, Record, Run, Variant
from drbench_db import schema

_TUPLES = ("where", "input_shape")


def by_record(found: Result[*tuple[Any, ...]]) -> dict[int, list[Mapping[str, Any]]]:
    """Rows by their record_id."""
    grouped: dict[int, list[Mapping[str, Any]]] = {}
    for row in found.mappings():
        grouped.setdefault(row["record_id"], []).append({str(name): value for name, value in row.items()})
    return grouped


def run(row: RowMapping) -> Run:
    """A Run, of a row of `query.runs`."""
    machine = {name: row[f"machine_{name}"] for name in Machine.__dataclass_fields__}
    code = {name: row[f"code_{name}"] for name in Code.__dataclass_fields__}
    own = {name: row[name] for name in Run.__dataclass_fields__ if name not in ("machine", "code")}
    return Run(**own, machine=Machine(**machine), code=Code(**code))


def record(row: RowMapping, hanging: Mapping[type[Any], list[Mapping[str, Any]]]) -> Record:
    """A Record, of a row of `query.records` and the rows of every table in `query.HANGING`."""

    def of(model: type[Any], key: str = "position") -> list[Mapping[str, Any]]:
        return sorted(hanging.get(model, []), key=lambda item: item[key])

    samples = {item["position"]: unpack(item["float64"]) for item in of(schema.SampleRow)}
    measurements = tuple(
        Measurement(
            m["name"],
            not_none(m["value"]),
            m["unit"],
            m["direction"],
            m["part"],
            samples.get(m["position"], ()),
            m["context"],
        )
        for m in of(schema.MeasurementRow)
    )
    layers = tuple(
        LayerCost(c["name"], c["kind"], tuple(c["output_shape"]), c["madds"], c["executed"], c["params"], c["parts"])
        for c in of(schema.LayerRow)
    )
    epochs = tuple(
        Epoch(**{**{name: e[name] for name in Epoch.__dataclass_fields__}, "train_loss": not_none(e["train_loss"])})
        for e in of(schema.EpochRow, "number")
    )
    ranks = b"".join(bytes(item["true_class_rank"]) for item in hanging.get(schema.PredictionRow, []))
    names = ("label", "stage", "status", "started", "finished", "seed", "error", "settings", "variant_hash")
    return Record(
        key=row["work_key"],
        variant=variant_of(row["definition"]),
        **{name: row[name] for name in names},
        measurements=measurements,
        layers=layers,
        epochs=epochs,
        ranks=ranks,
        notes=tuple(row["notes"]),
        files={item["name"]: item["path"] for item in of(schema.FileRow, "name")},
    )


def variant_of(definition: Mapping[str, Any]) -> Variant:
    """The Variant of a stored definition; fields that a later version added keep their defaults."""
    known = {field.name for field in fields(Variant)}
    values: dict[str, Any] = {name: value for name, value in definition.items() if name in known}
    return Variant(**(values | {name: tuple(values[name]) for name in _TUPLES if name in values}))


def unpack(blob: bytes | None) -> tuple[float, ...]:
    """What `rows.pack` packed."""
    values = array("d")
    values.frombytes(blob or b"")
    if byteorder == "big":
        values.byteswap()
    return tuple(values)


def not_none(value: float | None) -> float:
    """None as NaN."""
    return math.nan if value is None else value
