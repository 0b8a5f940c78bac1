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
from drbench_db.validate import Damages, fetch

Row: TypeAlias = dict[str, Any]

_OWNERS: Mapping[str, type[Any]] = {"suite_id": SuiteRow, "machine_id": MachineRow, "code_id": CodeRow}
_ENDING = ("status", "finished")
"""The fields of a run that change while it is running."""


@dataclass(frozen=True)
class RecordRows:
    """A record with its variant, its machine (None: the run's) and what hangs on it, without row numbers."""

    row: Row
    variant: Row
    machine: Row | None
    hanging: Mapping[type[Any], list[Row]]

    def digest(self) -> str:
        """The same for equal records, in whatever database they are."""
        hanging = {model.__tablename__: _text(items) for model, items in self.hanging.items()}
        machine = None if self.machine is None else self.machine["hash"]
        return rows.hashed({"record": self.row, "variant": self.variant["hash"], "machine": machine, **hanging})


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
    """The result of copying a run: numbers of records `added` and `known` before, and its status now."""

    run_id: str
    status: str
    added: int
    known: int


def read_run(connection: Connection, run_id: str, damages: Damages) -> RunRows:
    """A run that is there, with its records but for the damaged ones, which are noted.

    DamagedError where the run itself, its suite, machine or code is damaged.
    """
    row = _one(connection, RunRow, RunRow.id == run_id, run_id, damages)
    owners = {
        name: _one(connection, model, model.id == row.pop(name), run_id, damages) for name, model in _OWNERS.items()
    }
    records: dict[str, RecordRows] = {}
    for found in read.whole(connection, query.records().where(RecordRow.run_id == run_id), damages):
        own = {name: value for name, value in found.row.items() if not name.startswith("variant_")}
        variant = {name.removeprefix("variant_"): found.row[name] for name in found.row if name not in own}
        number = own.pop("id")
        if own["uid"] in records:
            damages.add(run_id, number, "uid", ("", own["uid"], "one record of this uid"))
            continue
        parts = {model: sorted(map(_loose, items), key=_place) for model, items in found.hanging.items()}
        records[own["uid"]] = RecordRows(own, variant, found.machine, parts)
    return RunRows(row, owners, records)


def write_run(connection: Connection, run: RunRows, where: str) -> Merged:
    """Add what the database `where` lacks of a run. InputError, before anything is written, where the two differ."""
    run_id = run.row["id"]
    known: Mapping[str, RecordRows] = {}
    if connection.execute(select(RunRow.id).where(RunRow.id == run_id)).first():
        damages = Damages(where)
        here = read_run(connection, run_id, damages)
        damages.refuse()
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
    """Status and end are those of the database with more records of the run; with equal numbers, of the later end."""
    theirs, ours = run.records.keys(), here.records.keys()
    if (theirs > ours) or (not theirs < ours and run.row["finished"] > here.row["finished"]):
        return {name: run.row[name] for name in _ENDING}
    return {name: here.row[name] for name in _ENDING}


def _add(connection: Connection, record: RecordRows) -> None:
    variant = adding.id_of(connection, VariantRow, record.variant)
    machine = None if record.machine is None else adding.id_of(connection, MachineRow, record.machine)
    number = adding.add_row(connection, record.row | {"variant_id": variant, "machine_id": machine})
    for model, items in record.hanging.items():
        if items:
            connection.execute(insert(model), [item | {"record_id": number} for item in items])


def _one(connection: Connection, model: type[Any], wanted: Any, run_id: str, damages: Damages) -> Row:
    """A row, without its number where it has another name to go by."""
    rows = fetch(connection, query.row_of(model).where(wanted))
    name = model.__tablename__
    if len(rows) != 1:
        damages.add(run_id, None, name, ("", f"{len(rows)} rows", f"one {name} that is in the database"))
    for _, column, fault in rows.faults.values():
        damages.add(run_id, None, f"{name} {column}", fault)
    if len(rows) != 1 or rows.faults:
        damages.refuse(run_id)
    ((_, found),) = rows.dicts()
    if "dirty" in found:
        found["dirty"] = bool(found["dirty"])
    return {name: value for name, value in found.items() if name != "id" or model is RunRow}


def _loose(row: Mapping[str, Any]) -> Row:
    return {name: value for name, value in row.items() if name != "record_id"}


def _place(row: Row) -> Any:
    """Where a row stands among those of its record and table."""
    return row.get("position", row.get("number", row.get("name")))


def _text(items: list[Row]) -> list[Row]:
    return [{n: value.hex() if isinstance(value, bytes) else value for n, value in item.items()} for item in items]
