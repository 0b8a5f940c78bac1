"""Rows to records; `rows` is the way there. What a column lacks (NULL) comes back as NaN where a number must stand.

Every row passes through `validate`; what is damaged is left out and noted.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from sys import byteorder
from typing import Any

from sqlalchemy import Connection, select

from drbench.records import Code, Epoch, LayerCost, Machine, Measurement, Outcomes, Record, Run, Variant
from drbench_db import query, schema
from drbench_db.schema import MachineRow, MeasurementRow, RecordRow
from drbench_db.validate import Damages, fetch, inside

Row = dict[str, Any]

_TUPLES = ("where", "input_shape")
_JSON = ("settings", "notes", "variant_definition", "variant_architecture_args", "context", "output_shape", "parts")


@dataclass(frozen=True)
class Whole:
    """A record's row, with the columns of its variant after "variant_", and what hangs on it by table.

    `machine`: the row of the record's own machine; None where it was made on the machine of the run.
    """

    row: Row
    hanging: Mapping[type[Any], Sequence[Row]]
    machine: Row | None = None


def runs(connection: Connection, wanted: query.Query, damages: Damages) -> list[Run]:
    """Runs, of `query.runs`."""
    rows = fetch(connection, wanted, "id")
    for place, (_, name, fault) in rows.faults.items():
        damages.add(rows.columns["id"][place], None, name, fault)
    return [_run(row) for _, row in rows.dicts()]


def _run(row: Mapping[str, Any]) -> Run:
    truths = {"code_dirty": bool(row["code_dirty"])}
    row = {**row, **truths}
    machine = {name: row[f"machine_{name}"] for name in Machine.__dataclass_fields__}
    code = {name: row[f"code_{name}"] for name in Code.__dataclass_fields__}
    own = {name: row[name] for name in Run.__dataclass_fields__ if name not in ("machine", "code")}
    return Run(**own, machine=Machine(**machine), code=Code(**code))


def whole(
    connection: Connection, wanted: query.Query, damages: Damages, without: Collection[type[Any]] = ()
) -> list[Whole]:
    """Records of `query.records` with what hangs on them, but for some tables."""
    rows = fetch(connection, wanted, "id")
    ids = select(wanted.with_only_columns(RecordRow.id, maintain_column_froms=True).order_by(None).subquery().c.id)
    hanging = {model: _hanging(connection, model, ids) for model in query.HANGING if model not in without}
    for place, (_, name, fault) in rows.faults.items():
        damages.add(rows.columns["run_id"][place], rows.columns["id"][place], name, fault)
    machines = _machines(connection, ids)
    found = []
    for _, row in rows.dicts():
        run_id, number, its = row["run_id"], row["id"], row.pop("machine_id")
        parts = {model: items.get(number, ([], None)) for model, items in hanging.items()}
        wrong = next((fault for _, fault in parts.values() if fault), None)
        if its is not None and its not in machines:
            wrong = ("machine_id", ("", its, "a machine that is in the database"))
        if wrong is None:
            items = {model: [_values(item) for item in good] for model, (good, _) in parts.items()}
            one = Whole(_values(row), items, machines.get(its))
            wrong = next(inside(one.row, items), None)
        if wrong is None:
            found.append(one)
        else:
            damages.add(run_id, number, *wrong)
    return found


def _machines(connection: Connection, ids: Any) -> dict[Any, Row]:
    """Number -> row of the machines that records name as their own, without the damaged ones."""
    named = select(RecordRow.machine_id).where(RecordRow.id.in_(ids), RecordRow.machine_id.is_not(None))
    rows = fetch(connection, query.row_of(MachineRow).where(MachineRow.id.in_(named)))
    return {row.pop("id"): row for _, row in rows.dicts()}


def _hanging(connection: Connection, model: type[Any], ids: Any) -> dict[Any, tuple[list[Row], Any]]:
    """Record -> (rows, the first fault: field and what is wrong) of one table."""
    rows = fetch(connection, query.hanging(model).where(model.record_id.in_(ids)))
    found: dict[Any, tuple[list[Row], Any]] = {}
    table, key = model.__tablename__, model.__table__.primary_key.columns.keys()[-1]
    for place, (_, name, fault) in rows.faults.items():
        number = rows.columns["record_id"][place]
        label = f"{table} {rows.columns[key][place]} {name}" if name != key else f"{table} {name}"
        found.setdefault(number, ([], (label, fault)))
    for _, row in rows.dicts():
        found.setdefault(row["record_id"], ([], None))[0].append(row)
    return found


def _values(row: Row) -> Row:
    """JSON as values, bytes as bytes, truths as such."""
    for name in _JSON:
        if name in row:
            row[name] = json.loads(row[name])
    for name in ("float64", "data"):  # a record's `data` is text
        if isinstance(row.get(name), memoryview):
            row[name] = bytes(row[name])
    if "synthetic" in row:
        row["synthetic"] = bool(row["synthetic"])
    return row


def record(found: Whole) -> Record:
    """A Record."""
    row = found.row

    def of(model: type[Any], key: str = "position") -> list[Row]:
        return sorted(found.hanging.get(model, []), key=lambda item: item[key])

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
        for m in of(MeasurementRow)
    )
    layers = tuple(
        LayerCost(c["name"], c["kind"], tuple(c["output_shape"]), c["madds"], c["executed"], c["params"], c["parts"])
        for c in of(schema.LayerRow)
    )
    epochs = tuple(
        Epoch(**{**{name: e[name] for name in Epoch.__dataclass_fields__}, "train_loss": not_none(e["train_loss"])})
        for e in of(schema.EpochRow, "number")
    )
    kept, its = next(iter(found.hanging.get(schema.OutcomeRow, [])), None), found.machine
    names = ("label", "stage", "status", "started", "finished", "seed", "error", "settings", "variant_hash")
    return Record(
        key=row["work_key"],
        variant=variant_of(row["variant_definition"]),
        **{name: row[name] for name in names},
        measurements=measurements,
        layers=layers,
        epochs=epochs,
        outcomes=None if kept is None else Outcomes(**{name: kept[name] for name in Outcomes.__dataclass_fields__}),
        machine=None if its is None else Machine(**{name: its[name] for name in Machine.__dataclass_fields__}),
        notes=tuple(row["notes"]),
        files={item["name"]: item["path"] for item in of(schema.FileRow, "name")},
    )


def variant_of(definition: Mapping[str, Any]) -> Variant:
    """The Variant of a stored definition that was validated; fields that a later version added keep their defaults.

    (Layers of the operator benchmark are variants too, which no network's table allows: see drbench.variant_table.)
    """
    known = {field.name for field in fields(Variant)}
    values: dict[str, Any] = {name: value for name, value in definition.items() if name in known}
    return Variant(**(values | {name: tuple(values[name]) for name in _TUPLES if name in values}))


def unpack(blob: bytes) -> tuple[float, ...]:
    """What `rows.pack` packed."""
    values = array("d")
    values.frombytes(blob)
    if byteorder == "big":
        values.byteswap()
    return tuple(values)


def not_none(value: float | None) -> float:
    """None as NaN."""
    return math.nan if value is None else value
