"""The questions that the store asks, as SQL.

Every column comes as the database has it, JSON as text: what is wrong with it is said by `rules`, not by the way there.
Rows of other tables are joined from the left and selected first by their keys, in columns that begin with "_": a key
that is missing tells of a row that is not there.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeAlias

from sqlalchemy import JSON, ColumnElement, Label, Select, Text, cast, func, select, type_coerce
from sqlalchemy.types import NullType

from drbench.records import Code, Machine
from drbench_db import schema
from drbench_db.schema import CodeRow, MachineRow, MeasurementRow, RecordRow, RunRow, SuiteRow, VariantRow

Query: TypeAlias = "Select[*tuple[Any, ...]]"

HANGING: tuple[type[Any], ...] = (
    schema.MeasurementRow,
    schema.SampleRow,
    schema.LayerRow,
    schema.EpochRow,
    schema.OutcomeRow,
    schema.FileRow,
)
"""What hangs on a record, by record_id."""


def _raw(column: Any, name: str | None = None) -> Label[Any]:
    """A column as it is in the database."""
    element = column.__clause_element__() if hasattr(column, "__clause_element__") else column
    plain: ColumnElement[Any] = (
        cast(element, Text) if isinstance(element.type, JSON) else type_coerce(element, NullType())
    )
    return plain.label(name or element.name)


def _all(model: type[Any], prefix: str = "", without: tuple[str, ...] = ()) -> list[Label[Any]]:
    columns = model.__table__.columns
    return [_raw(column, prefix + column.name) for column in columns if column.name not in without]


def _keys(*models: type[Any]) -> list[Label[Any]]:
    """Whether the rows of these tables are there."""
    return [_raw(model.__table__.columns["id"], f"_{model.__tablename__}") for model in models]


def runs() -> Query:
    """Runs with all that records.Run holds, the newest first."""
    machine = [_raw(getattr(MachineRow, f.name), f"machine_{f.name}") for f in fields(Machine)]
    stored = {"commit": "commit_hash"}
    code = [_raw(getattr(CodeRow, stored.get(f.name, f.name)), f"code_{f.name}") for f in fields(Code)]
    own = [_raw(one) for one in (RunRow.id, RunRow.command, RunRow.started, RunRow.finished, RunRow.status)]
    suite = [_raw(SuiteRow.name, "suite"), _raw(SuiteRow.text, "suite_text")]
    return (
        select(*_keys(SuiteRow, MachineRow, CodeRow), *own, *suite, *machine, *code)
        .select_from(RunRow)
        .outerjoin(SuiteRow, SuiteRow.id == RunRow.suite_id)
        .outerjoin(MachineRow, MachineRow.id == RunRow.machine_id)
        .outerjoin(CodeRow, CodeRow.id == RunRow.code_id)
        .order_by(RunRow.started.desc(), RunRow.id.desc())
    )


def records() -> Query:
    """Records whole, with their variants' columns after "variant_", in the order in which they were made."""
    variant = _all(VariantRow, "variant_", ("id",))
    return (
        select(*_keys(VariantRow), *_all(RecordRow, without=("variant_id",)), *variant)
        .select_from(RecordRow)
        .outerjoin(VariantRow, VariantRow.id == RecordRow.variant_id)
        .order_by(RecordRow.id)
    )


def hanging(model: type[Any]) -> Query:
    """What hangs on records, of one of HANGING."""
    return select(*_all(model))


def row_of(model: type[Any]) -> Query:
    """Whole rows of a table."""
    return select(*_all(model))


def counts() -> Query:
    """Run, status, number of one of the records, how many there are; whether their run is there."""
    run = _keys(RunRow)
    return (
        select(
            *run,
            _raw(RecordRow.run_id),
            _raw(RecordRow.status),
            func.min(RecordRow.id).label("number"),
            func.count().label("count"),
        )
        .select_from(RecordRow)
        .outerjoin(RunRow, RunRow.id == RecordRow.run_id)
        .group_by(RunRow.id, RecordRow.run_id, RecordRow.status)
    )


def report_records() -> Query:
    """One row a record: the columns of `drbench.load` that say whose figure it is."""
    return (
        select(
            *_keys(RunRow, SuiteRow, MachineRow, CodeRow, VariantRow),
            _raw(RecordRow.id, "record"),
            _raw(RecordRow.run_id, "run"),
            _raw(SuiteRow.name, "suite"),
            _raw(RunRow.started, "run_started"),
            _raw(RunRow.status, "run_status"),
            *map(_raw, (VariantRow.architecture, VariantRow.operator, RecordRow.label, VariantRow.regions)),
            *map(_raw, (VariantRow.recipe, VariantRow.init, VariantRow.width, VariantRow.input_shape)),
            *map(_raw, (VariantRow.stem_stride, VariantRow.num_classes, VariantRow.matched_by, VariantRow.matched_to)),
            _raw(VariantRow.architecture_args),
            _raw(VariantRow.definition),
            _raw(VariantRow.hash, "variant"),
            *map(_raw, (RecordRow.stage, RecordRow.seed)),
            _raw(RecordRow.work_key, "key"),
            *map(_raw, (RecordRow.status, RecordRow.error, RecordRow.started, RecordRow.finished)),
            *map(_raw, (RecordRow.data, RecordRow.preset, RecordRow.synthetic, RecordRow.settings)),
            *map(_raw, (RecordRow.task, RecordRow.headline)),
            *map(_raw, (MachineRow.hostname, MachineRow.cpu, MachineRow.cores, MachineRow.gpu, MachineRow.torch)),
            _raw(MachineRow.hash, "machine"),
            _raw(CodeRow.drbench),
            _raw(CodeRow.commit_hash, "commit"),
            _raw(CodeRow.dirty),
        )
        .select_from(RecordRow)
        .outerjoin(RunRow, RunRow.id == RecordRow.run_id)
        .outerjoin(SuiteRow, SuiteRow.id == RunRow.suite_id)
        .outerjoin(MachineRow, MachineRow.id == func.coalesce(RecordRow.machine_id, RunRow.machine_id))
        .outerjoin(CodeRow, CodeRow.id == RunRow.code_id)
        .outerjoin(VariantRow, VariantRow.id == RecordRow.variant_id)
        .order_by(RecordRow.id)
    )


def report_measurements() -> Query:
    """One row a measurement: the figure, by record; what its context says is taken out of it by `table`."""
    m = MeasurementRow
    return select(
        _raw(m.record_id, "record"),
        _raw(m.position),
        *map(_raw, (m.name, m.part, m.value, m.unit, m.direction, m.batch_size, m.threads, m.dtype, m.device)),
        *map(_raw, (m.sample_count, m.spread_low, m.spread_high, m.p90, m.p99)),
        _raw(m.context),
    ).order_by(m.record_id, m.position)
