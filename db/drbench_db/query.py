"""The questions that the store asks, as SQL."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeAlias

from sqlalchemy import Select, Text, cast, select

from drbench.records import Code, Machine
from drbench_db import schema
from drbench_db.schema import CodeRow, MachineRow, MeasurementRow, RecordRow, RunRow, SuiteRow, VariantRow

Query: TypeAlias = "Select[*tuple[Any, ...]]"

HANGING: tuple[type[Any], ...] = (
    schema.MeasurementRow,
    schema.SampleRow,
    schema.LayerRow,
    schema.EpochRow,
    schema.PredictionRow,
    schema.FileRow,
)
"""What hangs on a record, by record_id."""


def runs() -> Query:
    """Runs with all that records.Run holds, the newest first."""
    machine = [getattr(MachineRow, f.name).label(f"machine_{f.name}") for f in fields(Machine)]
    stored = {"commit": "commit_hash"}
    code = [getattr(CodeRow, stored.get(f.name, f.name)).label(f"code_{f.name}") for f in fields(Code)]
    own = [RunRow.id, RunRow.command, RunRow.started, RunRow.finished, RunRow.status]
    suite = [SuiteRow.name.label("suite"), SuiteRow.text.label("suite_text")]
    return (
        select(*own, *suite, *machine, *code)
        .join(SuiteRow, SuiteRow.id == RunRow.suite_id)
        .join(MachineRow, MachineRow.id == RunRow.machine_id)
        .join(CodeRow, CodeRow.id == RunRow.code_id)
        .order_by(RunRow.started.desc(), RunRow.id.desc())
    )


def records() -> Query:
    """Records with their variants' definitions, in the order in which they were made."""
    return (
        select(RecordRow.__table__, VariantRow.definition, VariantRow.hash.label("variant_hash"))
        .join(VariantRow, VariantRow.id == RecordRow.variant_id)
        .order_by(RecordRow.id)
    )


def report_records() -> Query:
    """One row a record: the columns of `drbench.load` that say whose figure it is."""
    return (
        select(
            RecordRow.id.label("record"),
            RunRow.id.label("run"),
            SuiteRow.name.label("suite"),
            RunRow.started.label("run_started"),
            RunRow.status.label("run_status"),
            VariantRow.architecture,
            VariantRow.operator,
            RecordRow.label,
            VariantRow.regions,
            VariantRow.recipe,
            VariantRow.init,
            VariantRow.width,
            VariantRow.input_shape,
            VariantRow.stem_stride,
            VariantRow.num_classes,
            VariantRow.matched_by,
            VariantRow.matched_to,
            cast(VariantRow.architecture_args, Text).label("architecture_args"),
            cast(VariantRow.definition["sources"], Text).label("sources"),
            VariantRow.hash.label("variant"),
            RecordRow.stage,
            RecordRow.seed,
            RecordRow.work_key.label("key"),
            RecordRow.status,
            RecordRow.error,
            RecordRow.started,
            RecordRow.finished,
            RecordRow.data,
            RecordRow.preset,
            RecordRow.synthetic,
            cast(RecordRow.settings, Text).label("settings"),
            MachineRow.hostname,
            MachineRow.cpu,
            MachineRow.cores,
            MachineRow.gpu,
            MachineRow.torch,
            MachineRow.hash.label("machine"),
            CodeRow.drbench,
            CodeRow.commit_hash.label("commit"),
            CodeRow.dirty,
        )
        .join(RunRow, RunRow.id == RecordRow.run_id)
        .join(SuiteRow, SuiteRow.id == RunRow.suite_id)
        .join(MachineRow, MachineRow.id == RunRow.machine_id)
        .join(CodeRow, CodeRow.id == RunRow.code_id)
        .join(VariantRow, VariantRow.id == RecordRow.variant_id)
        .order_by(RecordRow.id)
    )


def report_measurements() -> Query:
    """One row a measurement: the figure, by record."""
    return select(
        MeasurementRow.record_id.label("record"),
        MeasurementRow.name,
        MeasurementRow.part,
        MeasurementRow.value,
        MeasurementRow.unit,
        MeasurementRow.direction,
        MeasurementRow.batch_size,
        MeasurementRow.threads,
        MeasurementRow.dtype,
        MeasurementRow.device,
        MeasurementRow.sample_count,
        MeasurementRow.spread_low,
        MeasurementRow.spread_high,
        MeasurementRow.p90,
        MeasurementRow.p99,
        MeasurementRow.context[("interval", 0)].as_float().label("interval_low"),
        MeasurementRow.context[("interval", 1)].as_float().label("interval_high"),
        MeasurementRow.context["channels_last"].as_boolean().label("channels_last"),
    ).order_by(MeasurementRow.record_id, MeasurementRow.position)
