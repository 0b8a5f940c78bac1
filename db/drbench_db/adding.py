"""Records into the tables, on a connection and in the transaction of the caller: all of a record, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Table, insert, select

from drbench.errors import FailedError
from drbench.records import Record
from drbench_db import rows, schema
from drbench_db.schema import MachineRow, RecordRow, VariantRow

DONE = "done"


def id_of(connection: Connection, model: type[Any], row: Mapping[str, Any]) -> int:
    """The row with this hash, made if need be. Writers take turns, so no other process can make it in between."""
    table: Table = model.__table__
    found = connection.execute(select(table.c.id).where(table.c.hash == row["hash"])).scalar()
    return int(found) if found is not None else _number(connection, model, row)


def add(connection: Connection, run_id: str, record: Record) -> int:
    """A record of a run; returns its number. FailedError where the run has this work done already."""
    variant = id_of(connection, VariantRow, rows.variant_row(record.variant, record.variant_hash))
    machine = None if record.machine is None else id_of(connection, MachineRow, rows.machine_row(record.machine))
    record_id = add_row(connection, rows.record_row(record, run_id, variant, machine) | {"uid": uuid4().hex})
    for model, items in (
        (schema.MeasurementRow, rows.measurement_rows(record_id, record.measurements)),
        (schema.SampleRow, rows.sample_rows(record_id, record.measurements)),
        (schema.LayerRow, rows.layer_rows(record_id, record.layers)),
        (schema.EpochRow, rows.epoch_rows(record_id, record.epochs)),
        (schema.OutcomeRow, rows.outcome_rows(record_id, record.outcomes)),
        (schema.FileRow, rows.file_rows(record_id, record.files)),
    ):
        if items:
            connection.execute(insert(model), items)
    return record_id


def add_row(connection: Connection, row: Mapping[str, Any]) -> int:
    """A row of `record`, without what hangs on it; returns its number. FailedError where its work is done already."""
    if row["status"] == DONE:
        same = (RecordRow.run_id == row["run_id"], RecordRow.work_key == row["work_key"], RecordRow.status == DONE)
        if connection.execute(select(RecordRow.id).where(*same)).first():
            seed = "" if row["seed"] is None else f" seed {row['seed']}"
            raise FailedError(
                f"run {row['run_id']} has {row['stage']} of {row['label']}{seed} done already; nothing is kept twice. "
                "Does another process go on with the same run?"
            )
    return _number(connection, RecordRow, row)


def _number(connection: Connection, model: type[Any], row: Mapping[str, Any]) -> int:
    added = connection.execute(insert(model).values(row)).inserted_primary_key
    return int(added[0]) if added else 0
