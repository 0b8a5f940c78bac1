"""Runs from one database to another, row by row as they are; the numbers of rows are each database's own.

A run has its id everywhere, a record its `uid`; machines, code, suites and variants are known by their hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection, insert, select, update

from drbench.errors import InputError
from drbench_db import adding, query, read, rows
from drbench_db.schema import CodeRow, MachineRow, RecordRow, RunRow, SuiteRow, VariantRow

Row: TypeAlias = dict[str, Any]

_OWNERS: Mapping[str, type[Any]] = {"suite_id": SuiteRow, "machine_id": MachineRow, "code_id": CodeRow}
_ENDING = ("status", "finished")
"""What changes about a run while it goes on."""


@dataclass(frozen=True)
class RecordRows:
    """A record with its variant and what hangs on it, without row numbers."""

    row: Row
    variant: Row
    hanging: Mapping[type[Any], list[Row]]

    def digest(self) -> str:
        """The same for equal records, in whatever database they are."""
        hanging = {model.__tablename__: _text(items) for model, items in self.hanging.items()}
        return rows.hashed({"record": self.row, "variant": self.variant["hash"], **hanging})


@dataclass(frozen=True)
class RunRows:
    """A run with the suite, machine and code that it belongs to, and its records by uid."""

    row: Row
    owners: Mapping[str, Row]
    records: Mapping[str, RecordRows]

    def identity(self) -> Row:
        """What two runs of the same id must share to be the same."""
        own = {name: value for name, value in self.row.items() if name not in _ENDING}
        return {**own, **{name: row["hash"] for name, row in self.owners.items()}}


@dataclass(frozen=True)
class Merged:
    """What became of a run: how many of its records were `added`, how many `known` before, and how it stands now."""

    run_id: str
    status: str
    added: int
    known: int


def read_run(connection: Connection, run_id: str) -> RunRows:
    """A run that is there, whole."""
    row = _one(connection, RunRow, RunRow.id == run_id)
    owners = {name: _one(connection, model, model.id == row.pop(name)) for name, model in _OWNERS.items()}
    ids = select(RecordRow.id).where(RecordRow.run_id == run_id)
    hanging = {
        model: read.by_record(connection.execute(select(model.__table__).where(model.record_id.in_(ids))))
        for model in query.HANGING
    }
    wanted = select(RecordRow.__table__).where(RecordRow.run_id == run_id).order_by(RecordRow.id)
    variants: dict[int, Row] = {}
    records = {}
    for found in map(dict, connection.execute(wanted).mappings()):
        number, variant = found.pop("id"), found.pop("variant_id")
        if variant not in variants:
            variants[variant] = _one(connection, VariantRow, VariantRow.id == variant)
        parts = {model: sorted(map(_loose, items.get(number, [])), key=_place) for model, items in hanging.items()}
        records[found["uid"]] = RecordRows(found, variants[variant], parts)
    return RunRows(row, owners, records)


def write_run(connection: Connection, run: RunRows, where: str) -> Merged:
    """Add what the database `where` lacks of a run. InputError, before anything is written, where the two differ."""
    run_id = run.row["id"]
    known: Mapping[str, RecordRows] = {}
    if connection.execute(select(RunRow.id).where(RunRow.id == run_id)).first():
        here = read_run(connection, run_id)
        _check_same(run, here, where)
        known = here.records
        ending = _ending(run, here)
        connection.execute(update(RunRow).where(RunRow.id == run_id).values(ending))
    else:
        owners = {name: adding.id_of(connection, _OWNERS[name], row) for name, row in run.owners.items()}
        ending = {name: run.row[name] for name in _ENDING}
        connection.execute(insert(RunRow).values(run.row | owners))
    new = [record for uid, record in run.records.items() if uid not in known]
    for record in new:
        _add(connection, record)
    return Merged(run_id, ending["status"], len(new), len(known))


def _check_same(run: RunRows, here: RunRows, where: str) -> None:
    run_id, theirs, ours = run.row["id"], run.identity(), here.identity()
    differ = [name.removesuffix("_id") for name in ours if ours[name] != theirs[name]]
    if differ:
        raise InputError(f"run {run_id} is another one than the run of this id in {where}: {', '.join(differ)} differ")
    done = {record.row["work_key"]: uid for uid, record in here.records.items() if record.row["status"] == adding.DONE}
    for uid, record in run.records.items():
        what = f"{record.row['stage']} of {record.row['label']}"
        if uid in here.records:
            if here.records[uid].digest() != record.digest():
                raise InputError(f"run {run_id} is in {where} with other content: {what} differs")
        elif record.row["status"] == adding.DONE and record.row["work_key"] in done:
            raise InputError(f"run {run_id} went on in two places: {what} is in {where}, measured another time")


def _ending(run: RunRows, here: RunRows) -> Row:
    """Status and end are those of whoever has more of the run; where both have the same, of whoever ended last."""
    theirs, ours = run.records.keys(), here.records.keys()
    if (theirs > ours) or (not theirs < ours and run.row["finished"] > here.row["finished"]):
        return {name: run.row[name] for name in _ENDING}
    return {name: here.row[name] for name in _ENDING}


def _add(connection: Connection, record: RecordRows) -> None:
    variant = adding.id_of(connection, VariantRow, record.variant)
    number = adding.add_row(connection, record.row | {"variant_id": variant})
    for model, items in record.hanging.items():
        if items:
            connection.execute(insert(model), [item | {"record_id": number} for item in items])


def _one(connection: Connection, model: type[Any], wanted: Any) -> Row:
    """A row, without its number where it has another name to go by."""
    found = dict(connection.execute(select(model.__table__).where(wanted)).mappings().one())
    return {name: value for name, value in found.items() if name != "id" or model is RunRow}


def _loose(row: Mapping[str, Any]) -> Row:
    return {name: value for name, value in row.items() if name != "record_id"}


def _place(row: Row) -> Any:
    """Where a row stands among those of its record and table."""
    return row.get("position", row.get("number", row.get("name")))


def _text(items: list[Row]) -> list[Row]:
    return [{n: value.hex() if isinstance(value, bytes) else value for n, value in item.items()} for item in items]
