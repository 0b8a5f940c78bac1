"""Records that were made from somebody else's file, held to the same rules as rows before they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from drbench.errors import InputError
from drbench.records import Record, Run
from drbench_db import rows, schema
from drbench_db.rules import RULES, JsonRule
from drbench_db.shapes import Fault
from drbench_db.validate import inside, shown


def check(run: Run, records: Sequence[Record]) -> None:
    """InputError that names record and field where a reader would leave the record out again."""
    own = {name: getattr(run, name) for name in ("id", "command", "started", "finished", "status")}
    tables: list[tuple[str, Mapping[str, Any]]] = [("run", own), ("machine", rows.machine_row(run.machine))]
    tables += [("code", rows.code_row(run.code)), ("suite", {"name": run.suite, "text": run.suite_text})]
    for table, row in tables:
        _refuse(f"its {table}", _faults(table, row))
    for number, record in enumerate(records):
        row = rows.record_row(record, run.id, 1)
        variant = rows.variant_row(record.variant, record.variant_hash)
        parts = {
            schema.MeasurementRow: rows.measurement_rows(1, record.measurements),
            schema.SampleRow: rows.sample_rows(1, record.measurements),
        }
        where = f"record {number}"
        _refuse(where, _faults("record", row))
        _refuse(where, _faults("variant", variant))
        for model, items in parts.items():
            for item in items:
                place = f"{where}, {model.__tablename__} {item['position']}"
                _refuse(place, _faults(model.__tablename__, item))
        _refuse(where, inside({**row, **{f"variant_{name}": value for name, value in variant.items()}}, parts))


def _faults(table: str, row: Mapping[str, Any]) -> Iterator[tuple[str, Fault]]:
    for name, value in row.items():
        rule = RULES[table, name]
        fault = rule.shape(value) if isinstance(rule, JsonRule) else rule.wrong(value)
        if fault:
            yield name, fault


def _refuse(where: str, faults: Iterator[tuple[str, Fault]]) -> None:
    for name, (place, value, expected) in faults:
        raise InputError(f"{where}: {name}{place}: got {shown(value)}; expected {expected}")
